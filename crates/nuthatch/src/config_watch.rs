//! Notices that a file of the configuration is another one than before.
//!
//! A file may be edited, replaced by a rename, or lie behind a symbolic link that changes its target,
//! as the files of a Kubernetes ConfigMap do. All this changes where the path leads, or the size or
//! time of what is there; so the one rule: look at that, once a second. A file that is still being
//! written is looked at again until it stays the same.

use crate::config::Stamp;
use crate::control::{Control, Reload, Trigger, Wish};
use crate::generation::Published;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The time from one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// Sends the wish for a reload whenever `file`, or the file of a password, has changed. `read` is the stamp
/// of the file from right before it was read. A file of a password that was read at the start may have changed
/// since, so there is a reload for it in any case.
///
/// # Errors
/// When the thread can't be started.
pub(crate) fn start(
    file: PathBuf,
    read: Option<Stamp>,
    published: Published,
    control: mpsc::Sender<Control>,
) -> io::Result<()> {
    let watch = move || {
        let mut known = vec![read];
        let mut changing = None;
        loop {
            thread::sleep(LOOK);
            let now = stamps(&file, &published);
            if now == known {
                changing = None;
            } else if changing.as_ref() == Some(&now) {
                let wish = Wish::Reload(Reload::by(Trigger::File));
                if control.send(Control::Wish(wish)).is_err() {
                    return;
                }
                (known, changing) = (now, None);
            } else {
                changing = Some(now);
            }
        }
    };
    thread::Builder::new().name("config".into()).spawn(watch)?;
    Ok(())
}

/// The file of the configuration, then those of passwords.
fn stamps(file: &Path, published: &Published) -> Vec<Option<Stamp>> {
    let generation = published.get();
    let secrets =
        generation.pools.iter().filter_map(|shared| shared.pool.redis_auth_file.as_deref());
    [file].into_iter().chain(secrets).map(Stamp::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source};
    use crate::generation::Generation;
    use crate::resolve::{self, Resolver};
    use std::fs;
    use std::sync::Arc;

    /// The wishes within three seconds after a start whose file becomes `now` before the watch begins.
    fn wishes(name: &str, now: Option<&str>) -> usize {
        const TEXT: &str = "p: {listen: \"h:1\", servers: [\"a:1:1\"]}\n";
        let file =
            std::env::temp_dir().join(format!("nuthatch-watch.{}.{name}", std::process::id()));
        fs::write(&file, TEXT).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.source, Source::File(file.clone()));
        now.map_or(Ok(()), |text| fs::write(&file, text)).unwrap();
        let resolver = Resolver::new(resolve::Options::default());
        let published = Published::new(Arc::new(Generation::first(config.pools, 1, &resolver)));
        let (control, sent) = mpsc::channel();
        start(file.clone(), config.stamp, published, control).unwrap();
        thread::sleep(LOOK * 3);
        fs::remove_file(&file).unwrap();
        sent.try_iter().count()
    }

    #[test]
    fn a_file_that_changes_before_the_watch_begins_is_read_again() {
        assert_eq!(wishes("same", None), 0);
        assert_eq!(wishes("other", Some("other")), 1);
    }
}
