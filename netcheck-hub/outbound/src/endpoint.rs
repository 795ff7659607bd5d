//! Where to send, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

/// Why an address can't be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL.
    #[error("is not a URL, as https://alertmanager.monitoring.svc:9093")]
    Malformed,
    /// It is one of something else.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// It would show up in logs and in the list of processes.
    #[error("holds a user name or password: give them by a file")]
    Credentials,
}

/// An `http` or `https` URL with a host and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.trim().parse().map_err(|_| UrlError::Malformed)?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Malformed),
        }
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(UrlError::Malformed);
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Url {
    /// The same with more of a path behind it: `http://am/prefix/` and `api/v2/alerts` are
    /// `http://am/prefix/api/v2/alerts`. A query of the URL is left out.
    ///
    /// # Panics
    /// Never for a `path` of plain words and slashes.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        let text = format!(
            "{}://{}{}/{path}",
            self.0.scheme_str().unwrap_or("http"),
            self.host(),
            self.0.path().trim_end_matches('/')
        );
        Self(text.parse().expect("parts of a URL and plain words make a URL"))
    }

    /// Host and port, as in the URL. Short enough for a label, and without what a query may hold.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.authority().map_or("", http::uri::Authority::as_str)
    }

    /// Whether it is sent to by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// For requests.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

/// As whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// With the token that is in this file, read anew for every request: it may be renewed.
    Bearer {
        /// The file.
        file: PathBuf,
    },
    /// With a user name, and the password that is in this file, read anew for every request.
    Basic {
        /// The user.
        user: String,
        /// The file.
        password_file: PathBuf,
    },
}

/// Where to send, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub url: Url,
    /// As whom.
    pub credentials: Credentials,
    /// Who vouches for it (PEM file); none: the machine's own authorities. Read again when it changes.
    pub ca: Option<PathBuf>,
}

impl Endpoint {
    /// Without credentials.
    #[must_use]
    pub fn open(url: Url) -> Self {
        Self { url, credentials: Credentials::None, ca: None }
    }
}
