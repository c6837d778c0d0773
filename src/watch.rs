//! Tells when one of some files may have changed: by the system's word where it gives one. A caller that must not miss
//! anything looks now and then as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches the folders of some files, and those of the links that lead to them.
pub struct Watch {
    files: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    places: Arc<ArcSwap<BTreeSet<PathBuf>>>,
    heard: Arc<Notify>,
    is_settling: bool,
}

impl Watch {
    /// From now on. Where the system cannot watch, nothing is ever heard.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let heard = Arc::new(Notify::new());
        let changed = Arc::clone(&heard);
        let places = Arc::new(ArcSwap::default());
        let of_interest = Arc::clone(&places);
        let ring = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change_of(&of_interest.load(), &event)) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(ring);
        let watcher = watcher.inspect_err(|error| tracing::debug!(%error, "files cannot be watched, only polled")).ok();
        let mut watch = Self { files, watcher, watched: BTreeSet::new(), places, heard, is_settling: false };
        watch.follow_links();
        watch
    }

    /// Waits until something happened to one of the files or to what leads to it, and then for a moment more: a program that
    /// writes a file truncates it first. A caller that stops waiting in between and waits again misses nothing.
    pub async fn changed(&mut self) {
        if !self.is_settling {
            self.heard.notified().await;
            self.is_settling = true;
        }
        tokio::time::sleep(SETTLING).await;
        self.is_settling = false;
        self.follow_links();
    }

    /// A link may lead elsewhere than it did: Kubernetes and Docker change a secret by swapping a link to its folder.
    fn follow_links(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let places: BTreeSet<_> = self.files.iter().flat_map(|file| places_on_the_way(file)).collect();
        let folders: BTreeSet<_> = places.iter().filter_map(|place| place.parent()).map(Path::to_owned).collect();
        self.places.store(Arc::new(places));
        for left in self.watched.difference(&folders) {
            // A folder that is gone is watched no longer anyway.
            let _ = watcher.unwatch(left);
        }
        let is_watched = |folder: &&PathBuf| {
            self.watched.contains(*folder) || watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()
        };
        self.watched = folders.iter().filter(is_watched).cloned().collect();
    }
}

/// Other files in the same folder are no concern of anybody here: a log may stand there. What names no file may be about any.
fn is_change_of(places: &BTreeSet<PathBuf>, event: &Event) -> bool {
    let is_on_the_way = |path: &PathBuf| places.iter().any(|place| place.starts_with(path));
    is_change(event.kind) && (event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(is_on_the_way))
}

/// Reading a file does not change it.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// What changes when the path leads to another file: the path itself, the file it leads to, and every link on the way.
fn places_on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_link = |part: &&Path| std::fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink());
    let links = path.ancestors().filter(is_link);
    let target = std::fs::canonicalize(&path).ok();
    links.chain([path.as_path()]).chain(target.as_deref()).map(Path::to_owned).collect()
}

/// How long after the first sign of a change it is looked at.
const SETTLING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn heard(files: Vec<PathBuf>, change: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut watch = Watch::new(files);
            change();
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("a change");
        });
    }

    #[test]
    fn a_file_that_is_written_replaced_or_made_is_heard_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, draft) = (folder.path().join("key"), folder.path().join("draft"));
        heard(vec![file.clone()], || fs::write(&file, "one").expect("a file"));
        heard(vec![file.clone()], || fs::write(&file, "two").expect("a file"));
        fs::write(&draft, "three").expect("a file");
        heard(vec![file.clone()], || fs::rename(&draft, &file).expect("a rename"));
    }

    #[test]
    fn nothing_is_heard_of_other_files_in_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, log) = (folder.path().join("key"), folder.path().join("log"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut watch = Watch::new(vec![file.clone()]);
            fs::write(&log, "a line").expect("a file");
            // What is heard comes in order, so that this is over before the next.
            assert!(tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_err());
            fs::write(&file, "one").expect("a file");
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("a change");
        });
    }

    #[test]
    fn a_link_that_is_swapped_is_heard_of_and_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).expect("a folder");
            fs::write(path(version).join("key"), version).expect("a file");
        }
        symlink("v1", path("now")).expect("a link");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut watch = Watch::new(vec![path("now/key")]);
            symlink("v2", path("next")).expect("a link");
            fs::rename(path("next"), path("now")).expect("a rename");
            watch.changed().await;
            fs::write(path("v2/key"), "changed").expect("a file");
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("a change behind the link");
        });
    }
}
