//! What a pod is given to speak with the API server: its address, a token, and whom to trust.
//!
//! The one rule: all is read again for each connection, because tokens and certificates change while
//! the pod runs.

use super::Failed;
use crate::config::Secret;
use crate::resolve::trouble::Trouble;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The credentials of the pod.
#[derive(Debug)]
pub(super) struct Account {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) token: Secret,
    /// Certificates in PEM.
    pub(super) trusted: Vec<u8>,
    pub(super) namespace: String,
}

impl Account {
    /// Reads the credentials in a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Failed> {
        let variable = |name| env::var(name).ok().filter(|text| !text.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST");
        let port = variable("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        let (Some(host), Some(port)) = (host, port) else {
            let text = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run the proxy in a \
                        pod, or write dnssrv+ in the place of k8s+";
            return Err(Failed::new(Trouble::NoAccount, text));
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        Ok(Self {
            host: host.to_owned(),
            port,
            token: token(folder)?,
            trusted: file(folder, "ca.crt")?,
            namespace: text(folder, "namespace")?,
        })
    }
}

/// The namespace of the pod, if it has one.
pub(super) fn namespace(folder: &Path) -> Option<String> {
    text(folder, "namespace").ok()
}

fn text(folder: &Path, name: &str) -> Result<String, Failed> {
    let text = String::from_utf8(file(folder, name)?).unwrap_or_default();
    Ok(text.trim().to_owned())
}

fn token(folder: &Path) -> Result<Secret, Failed> {
    let bytes = file(folder, "token")?;
    Secret::new(bytes.trim_ascii()).ok_or_else(|| {
        let path = folder.join("token");
        Failed::new(Trouble::NoAccount, format!("{}: there is no token in it", path.display()))
    })
}

fn file(folder: &Path, name: &str) -> Result<Vec<u8>, Failed> {
    let path = folder.join(name);
    read(&path).map_err(|error| {
        let text = format!(
            "{}: {error}; the container needs the token of a service account, which the chart's value \
             endpointSlices.enabled mounts",
            path.display()
        );
        Failed::new(Trouble::NoAccount, text)
    })
}

/// The content of a file, if it is one of a sensible size: another one must not fill the memory.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        let text = format!("it has more than {FILE_BYTES_MAX} bytes, which is the limit");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Kubernetes allows no Secret and no ConfigMap that is larger.
const FILE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("nuthatch-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_token_is_not_shown() {
        let folder = folder("token");
        fs::write(folder.join("token"), " hunter2\n").unwrap();
        let account = Account {
            host: "10.0.0.1".into(),
            port: 443,
            token: token(&folder).unwrap(),
            trusted: Vec::new(),
            namespace: "cache".into(),
        };
        assert_eq!(account.token.expose(), b"hunter2");
        let shown = format!("{account:?} {account:#?}");
        assert!(!shown.contains("hunter2") && shown.contains("cache"), "{shown}");
        fs::write(folder.join("token"), "\n").unwrap();
        assert!(token(&folder).unwrap_err().text.contains("there is no token in it"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_has_a_largest_size() {
        let folder = folder("account");
        for (bytes, is_read) in [(FILE_BYTES_MAX, true), (FILE_BYTES_MAX + 1, false)] {
            fs::write(folder.join("ca.crt"), vec![b' '; bytes]).unwrap();
            assert_eq!(file(&folder, "ca.crt").is_ok(), is_read, "{bytes}");
        }
        fs::remove_dir_all(folder).unwrap();
        let failed = file("/dev".as_ref(), "zero").unwrap_err();
        assert!(failed.text.contains("more than 1048576 bytes"), "{}", failed.text);
    }
}
