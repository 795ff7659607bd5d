//! What the API says of a token → the node that it proves. Pure.

use k8s_openapi::api::authentication::v1::UserInfo;

use super::Refusal;
use netcheck_analysis::cluster::roster::Roster;

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const ACCOUNT: &str = "system:serviceaccount:";

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// As the API has it.
    pub user: String,
    /// `namespace/name` of the service account, if it is one.
    pub account: Option<String>,
    /// `namespace/name` of the pod that the token is bound to.
    pub pod: Option<String>,
    /// The node that the pod was on when the token was made; API servers before 1.30 don't say.
    pub node: Option<String>,
}

impl Claims {
    /// Reads what the API says.
    #[must_use]
    pub fn read(user: &UserInfo) -> Self {
        let name = user.username.clone().unwrap_or_default();
        let account = name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':'));
        let extra = |key: &str| {
            let values = user.extra.as_ref()?.get(key)?;
            // Several would leave open which one it is.
            match values.as_slice() {
                [one] if !one.is_empty() => Some(one.clone()),
                _ => None,
            }
        };
        // A bound token is always of a service account, and of a pod in its namespace.
        let pod = account.and_then(|(namespace, _)| Some(format!("{namespace}/{}", extra(POD_NAME)?)));
        Self {
            account: account.map(|(namespace, name)| format!("{namespace}/{name}")),
            node: pod.as_ref().and_then(|_| extra(NODE_NAME)),
            pod,
            user: name,
        }
    }

    /// The node that this proves. The API does not look after the node again that it once wrote into a token, so that
    /// it is held against the roster's own pods.
    ///
    /// # Errors
    /// It proves none, or contradicts the roster.
    pub fn node(&self, roster: &Roster, all_pods: bool) -> Result<String, Refusal> {
        let Some(pod) = &self.pod else { return Err(Refusal::Unbound { user: self.user.clone() }) };
        let found = roster.pods.get(pod).map(|pod| pod.node.as_str());
        match (&self.node, found) {
            (Some(claimed), Some(found)) if claimed == found => Ok(claimed.clone()),
            (Some(claimed), Some(found)) => Err(Refusal::PodElsewhere {
                pod: pod.clone(),
                claimed: claimed.clone(),
                found: found.to_owned(),
            }),
            (None, Some(found)) => Ok(found.to_owned()),
            (Some(claimed), None) if !all_pods => Ok(claimed.clone()),
            (_, None) => Err(Refusal::PodUnknown { pod: pod.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    const CLUSTER: &str = include_str!("../../../tests/hub/cluster.yaml");

    fn user(name: &str, extra: &[(&str, &[&str])]) -> Claims {
        let extra: BTreeMap<String, Vec<String>> = extra
            .iter()
            .map(|(key, values)| ((*key).to_owned(), values.iter().map(|&value| value.to_owned()).collect()))
            .collect();
        Claims::read(&UserInfo { username: Some(name.to_owned()), extra: Some(extra), ..UserInfo::default() })
    }

    /// As in the test cluster: web-1 is on n1.
    #[test]
    fn what_a_token_proves() {
        let roster = netcheck_analysis::cluster::inventory::parse(Path::new("x"), CLUSTER).unwrap().roster();
        let account = "system:serviceaccount:default:agent";
        type Extra = (&'static str, &'static [&'static str]);
        let pod = |names: &'static [&'static str]| -> Extra { (POD_NAME, names) };
        let node = |names: &'static [&'static str]| -> Extra { (NODE_NAME, names) };
        let (web, stranger): (&'static [&str], &'static [&str]) = (&["web-1"], &["new"]);
        // What it proves, or a part of why it is refused.
        type Expected = Result<&'static str, &'static str>;
        // Name, extra, and what it proves with all pods known, and without.
        #[rustfmt::skip]
        let rows: [(&str, Vec<Extra>, Expected, Expected); 9] = [
            (account, vec![pod(web), node(&["n1"])], Ok("n1"), Ok("n1")),
            (account, vec![pod(web)], Ok("n1"), Ok("n1")),
            (account, vec![pod(web), node(&["n2"])], Err("runs on n1"), Err("runs on n1")),
            (account, vec![pod(stranger), node(&["n2"])], Err("not known yet"), Ok("n2")),
            (account, vec![pod(stranger)], Err("not known yet"), Err("not known yet")),
            (account, vec![node(&["n1"])], Err("bound to no pod"), Err("bound to no pod")),
            (account, vec![], Err("bound to no pod"), Err("bound to no pod")),
            (account, vec![pod(&["web-1", "web-2"]), node(&["n1"])], Err("bound to no pod"), Err("bound to no pod")),
            // A node's own credential, or a person's, is no agent's.
            ("system:node:n1", vec![pod(web), node(&["n1"])], Err("bound to no pod"), Err("bound to no pod")),
        ];
        for (name, extra, strict, lenient) in rows {
            let claims = user(name, &extra);
            for (all_pods, expected) in [(true, strict), (false, lenient)] {
                match (claims.node(&roster, all_pods), expected) {
                    (Ok(node), Ok(expected)) => assert_eq!(node, expected, "{claims:?}"),
                    (Err(refusal), Err(words)) => assert!(refusal.to_string().contains(words), "{refusal}"),
                    (proven, expected) => panic!("{claims:?}: {proven:?}, not {expected:?}"),
                }
            }
        }
        assert_eq!(user(account, &[]).account.as_deref(), Some("default/agent"));
        assert_eq!(user("admin", &[]).account, None);
    }
}
