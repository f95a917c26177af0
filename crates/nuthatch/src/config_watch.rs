//! Notices that a file of the configuration is another one than before.
//!
//! A file may be edited, replaced by a rename, or lie behind a symbolic link that changes its target,
//! as the files of a Kubernetes ConfigMap do. All this changes where the path leads, or the size or
//! time of what is there; so the one rule: look at that, once a second. A file that is still being
//! written is looked at again until it stays the same.

use crate::control::{Control, Reload, Trigger, Wish};
use crate::generation::Published;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The time from one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a file from another one under the same path. An absent file has no stamp.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    target: PathBuf,
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let target = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&target).ok()?;
        Some(Self {
            target,
            file: (found.dev(), found.ino()),
            size: found.size(),
            changed: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// Sends the wish for a reload whenever `file`, or the file of a password, has changed.
///
/// # Errors
/// When the thread can't be started.
pub(crate) fn start(
    file: PathBuf,
    published: Published,
    control: mpsc::Sender<Control>,
) -> io::Result<()> {
    let watch = move || {
        let mut known = stamps(&file, &published);
        let mut changing = None;
        loop {
            thread::sleep(LOOK);
            let now = stamps(&file, &published);
            if now == known {
                changing = None;
            } else if changing.as_ref() == Some(&now) {
                let trigger = Trigger::File;
                let wish = Reload { trigger, is_forced: false, reply: None };
                if control.send(Control::Wish(Wish::Reload(wish))).is_err() {
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
