//! The chart's own certificates: OpenSSL takes them for what they are for, and an upgrade keeps their authority, so that
//! agents of before trust the hub of after.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{chart_dir, helm};
use crate::tools::{command, output};

const SCRIPT: &str = include_str!("certificates.py");
const AUTHORITY: &str = "netcheck-ca";
/// The name that agents' certificates bear, and no other.
const AGENTS: &str = "agents.netcheck.example";

/// What is wrong with them.
pub(super) fn check() -> Result<Vec<String>> {
    let tls = json!({"clientAuth": true, "agentCertName": AGENTS});
    let question = json!({"chart": chart_dir(), "release": helm::RELEASE, "values": {"tls": tls}});
    let rounds = helm::ask(&["helm4", "kubernetes-validate"], SCRIPT, &question)?;
    let [installed, upgraded] = rounds.as_slice() else {
        anyhow::bail!("{} rounds instead of two", rounds.len())
    };
    let mut wrong = Vec::new();
    if installed[AUTHORITY].is_null() || installed[AUTHORITY] != upgraded[AUTHORITY] {
        wrong.push("an upgrade makes another authority".to_owned());
    }
    let dir = tempfile::tempdir()?;
    // Old authority, new certificates.
    let authority = decoded(&installed[AUTHORITY]["tls.crt"], &dir.path().join("ca.crt"))?;
    let host = "netcheck-hub.netcheck.svc";
    for (secret, purpose, name) in [
        ("netcheck-hub-tls", "sslserver", host),
        ("netcheck-agent-tls", "sslclient", AGENTS),
        ("netcheck-reader-tls", "sslclient", "netcheck-reader"),
    ] {
        let certificate = decoded(&upgraded[secret]["tls.crt"], &dir.path().join("tls.crt"))?;
        let key = decoded(&upgraded[secret]["tls.key"], &dir.path().join("tls.key"))?;
        let verify = |name: &str| {
            let mut verify = command("openssl");
            verify.args(["verify", "-CAfile", &authority, "-purpose", purpose, "-verify_hostname", name]);
            output(verify.arg(&certificate))
        };
        wrong.extend(verify(name).err().map(|error| format!("{secret}: {error:#}")));
        if name != AGENTS && verify(AGENTS).is_ok() {
            wrong.push(format!("{secret} bears the agents' name"));
        }
        let of_certificate =
            output(command("openssl").args(["x509", "-noout", "-pubkey", "-in", &certificate]))?;
        let of_key = output(command("openssl").args(["pkey", "-pubout", "-in", &key]))?;
        if of_certificate != of_key {
            wrong.push(format!("{secret}: the key is another's"));
        }
        if upgraded[secret]["ca.crt"] != upgraded[AUTHORITY]["tls.crt"] {
            wrong.push(format!("{secret}: the authority is another"));
        }
    }
    Ok(wrong)
}

/// Writes what a Secret holds to a file, and returns its path.
fn decoded(value: &Value, path: &Path) -> Result<String> {
    let encoded = path.with_extension("base64");
    fs::write(&encoded, value.as_str().context("a Secret lacks something")?)?;
    let decoded = output(command("base64").arg("--decode").arg(&encoded))? + "\n";
    fs::write(path, decoded)?;
    Ok(path.to_string_lossy().into_owned())
}
