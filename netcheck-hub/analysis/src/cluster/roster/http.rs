//! What a service's annotations say of HTTP: `netcheck.io/http: "PORT/PATH"`, `netcheck.io/https: "PORT/PATH"` (several,
//! with spaces between), `netcheck.io/http-status: "200-399,401"`, `netcheck.io/https-name: NAME` and
//! `netcheck.io/https-verify: "true"`. Pure.

use std::collections::BTreeMap;

use netcheck_proto::text;

/// Requests of one service; what is beyond is reported as wrong.
const REQUESTS_MAX: usize = 16;
const HTTP: &str = "netcheck.io/http";
const HTTPS: &str = "netcheck.io/https";
const STATUS: &str = "netcheck.io/http-status";
const NAME: &str = "netcheck.io/https-name";
const VERIFY: &str = "netcheck.io/https-verify";

/// Statuses that count as the expected answer, first and last.
pub type Statuses = Vec<(u16, u16)>;

/// One request that a service's annotations ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpWish {
    /// By HTTPS.
    pub tls: bool,
    /// The service's port, by number or name.
    pub port: String,
    /// Path and query; starts with a slash.
    pub path: String,
}

/// All that a service's annotations say of HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpWishes {
    /// The requests.
    pub requests: Vec<HttpWish>,
    /// Statuses that are expected; empty: the usual ones.
    pub expected: Statuses,
    /// The name that the server's certificate must be for; empty: any.
    pub name: String,
    /// The hub's authorities must vouch for the certificate.
    pub verify: bool,
    /// What of it makes no sense, one line each.
    pub wrong: Vec<String>,
}

impl HttpWishes {
    /// Reads a service's annotations.
    #[must_use]
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let mut wishes = Self::default();
        let Some(annotations) = annotations else { return wishes };
        for (key, tls) in [(HTTP, false), (HTTPS, true)] {
            for word in annotations.get(key).map_or("", String::as_str).split_whitespace() {
                match request(word, tls) {
                    Some(_) if wishes.requests.len() >= REQUESTS_MAX => {
                        wishes.complain(key, word, "is one too many");
                    }
                    Some(request) => wishes.requests.push(request),
                    None => wishes.complain(key, word, "is no PORT/PATH"),
                }
            }
        }
        if let Some(text) = annotations.get(STATUS) {
            match statuses(text) {
                Some(expected) => wishes.expected = expected,
                None => wishes.complain(STATUS, text, "is no list of statuses, as in 200-399,401"),
            }
        }
        match annotations.get(VERIFY).map(String::as_str) {
            None | Some("false") => {}
            Some("true") => wishes.verify = true,
            Some(other) => wishes.complain(VERIFY, other, "is neither true nor false"),
        }
        if let Some(name) = annotations.get(NAME) {
            if text::is_name(name) {
                wishes.name.clone_from(name);
            } else {
                wishes.complain(NAME, name, "is no name");
            }
        }
        wishes
    }

    fn complain(&mut self, key: &str, value: &str, why: &str) {
        self.wrong.push(text::line(&format!("annotation {key}: {value:?} {why}")));
    }
}

fn request(word: &str, tls: bool) -> Option<HttpWish> {
    let (port, path) = word.split_once('/').unwrap_or((word, ""));
    let port = match port {
        "" if tls => "443",
        "" => "80",
        port => port,
    };
    let named = port.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let path = format!("/{path}");
    let fits = path.bytes().all(|byte| byte.is_ascii_graphic()) && path.len() <= 1024;
    (named && fits).then(|| HttpWish { tls, port: port.to_owned(), path })
}

/// `200-399,401`.
#[must_use]
pub fn statuses(text: &str) -> Option<Statuses> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first >= 100 && first <= last && last <= 999).then_some((first, last))
    };
    let ranges: Option<Statuses> = text.split(',').map(range).collect();
    ranges.filter(|ranges| ranges.len() <= 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &[(&str, &str)]) -> HttpWishes {
        let map = annotations.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        HttpWishes::read(Some(&map))
    }

    #[test]
    fn what_annotations_say() {
        assert_eq!(HttpWishes::read(None), HttpWishes::default());
        let wishes = read(&[
            ("netcheck.io/http", "8080/healthz?full=1  web/"),
            ("netcheck.io/https", "/readyz 8443"),
            ("netcheck.io/http-status", "200-204, 401"),
            ("netcheck.io/https-name", "web.example.org"),
            ("netcheck.io/https-verify", "true"),
        ]);
        let asked: Vec<_> = wishes
            .requests
            .iter()
            .map(|request| (request.tls, request.port.as_str(), request.path.as_str()))
            .collect();
        assert_eq!(
            asked,
            [
                (false, "8080", "/healthz?full=1"),
                (false, "web", "/"),
                (true, "443", "/readyz"),
                (true, "8443", "/")
            ]
        );
        assert_eq!((wishes.expected, wishes.verify), (vec![(200, 204), (401, 401)], true));
        assert_eq!((wishes.name.as_str(), wishes.wrong), ("web.example.org", Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_reported_and_the_rest_counts() {
        let wishes = read(&[
            ("netcheck.io/http", "80/ http://web/ 80/\u{e4}"),
            ("netcheck.io/http-status", "20-399"),
            ("netcheck.io/https-name", "a b"),
            ("netcheck.io/https-verify", "yes"),
        ]);
        assert_eq!((wishes.requests.len(), wishes.wrong.len()), (1, 5), "{wishes:?}");
        assert!(wishes.wrong[0].contains("netcheck.io/http: \"http://web/\" is no PORT/PATH"), "{wishes:?}");
        let many = "80/ ".repeat(REQUESTS_MAX + 1);
        let wishes = read(&[("netcheck.io/http", &many)]);
        assert_eq!((wishes.requests.len(), wishes.wrong.len()), (REQUESTS_MAX, 1));
    }
}
