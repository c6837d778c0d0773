//! The files that hold a set's keys: written whole or not at all, and down to the disk before anything rests on them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::keys::secret::Secret;

/// Why a key file is not as it should be. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {action}", path.display())]
pub struct KeyFileError {
    path: PathBuf,
    /// `written`, `read`, `removed`.
    action: &'static str,
    source: io::Error,
}

/// Writes a key into a file that is its owner's alone.
pub fn write(path: &Path, key: &Secret) -> Result<(), KeyFileError> {
    replace(path, &line(key), None).map_err(failed(path, "written"))
}

/// Puts a key into the file of the current one, whose mode and owner stay; what stood there is kept in
/// [`previous`] first.
pub fn switch(path: &Path, key: &Secret) -> Result<(), KeyFileError> {
    let path = &resolved(path)?;
    let before = Zeroizing::new(fs::read(path).map_err(failed(path, "read"))?);
    let previous = previous(path);
    replace(&previous, &before, None).map_err(failed(&previous, "written"))?;
    replace(path, &line(key), Some(path)).map_err(failed(path, "written"))
}

/// Takes a switch back: what [`previous`] keeps is current again.
pub fn switch_back(path: &Path) -> Result<(), KeyFileError> {
    let path = &resolved(path)?;
    let previous = previous(path);
    let before = Zeroizing::new(fs::read(&previous).map_err(failed(&previous, "read"))?);
    replace(path, &before, Some(path)).map_err(failed(path, "written"))?;
    remove(&previous)
}

/// Removes a file, and what a kill left of one that was to take its place. That there is none is as good.
pub fn remove(path: &Path) -> Result<(), KeyFileError> {
    for path in [path, &draft(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, "removed")(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Where the value of a replaced key is kept until the end of its rotation: `FILE.previous`, for the owner alone.
#[must_use]
pub fn previous(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_gone| path.to_owned());
    path.with_added_extension("previous")
}

/// Whether a file can be put where that one is, or would be, without touching it: in its folder one as long as a key is made and
/// removed.
pub fn try_folder(path: &Path) -> Result<(), KeyFileError> {
    let draft = trial(path);
    let written =
        open_private(&draft).and_then(|mut file| file.write_all(&[b'\n'; ROOM]).and_then(|()| file.sync_all()));
    written.and(fs::remove_file(&draft)).map_err(failed(path, "written"))
}

/// What a link leads to: a rename would take the link's place.
fn resolved(path: &Path) -> Result<PathBuf, KeyFileError> {
    fs::canonicalize(path).map_err(failed(path, "read"))
}

/// Puts a new file in the place of the one at `path`, with mode and owner of `like`.
fn replace(path: &Path, content: &[u8], like: Option<&Path>) -> io::Result<()> {
    let draft = draft(path);
    let write = || {
        let mut file = open_private(&draft)?;
        file.write_all(content)?;
        if let Some(like) = like {
            let like = fs::metadata(like)?;
            if file.metadata()?.uid() != like.uid() || file.metadata()?.gid() != like.gid() {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(like.mode() & 0o777))?;
        }
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_error| drop(fs::remove_file(&draft)))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// What root makes belongs to the folder's owner, as whom keyward may run.
fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?;
    if file.metadata()?.uid() == ROOT && folder.uid() != ROOT {
        fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(file)
}

/// Always the same one, so that what a kill leaves of it is written over or removed, and no key lies about: one command at a time
/// writes the files of a set. No person has a file of that name.
fn draft(path: &Path) -> PathBuf {
    beside(path, "draft")
}

/// One that holds no key, and may be there beside a draft that does.
fn trial(path: &Path) -> PathBuf {
    beside(path, "trial")
}

/// In the same folder, so that a rename is one step.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.keyward-{what}"))
}

fn line(key: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([key.expose(), b"\n"].concat())
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError { path: path.into(), action, source }
}

/// More than a key is long, in bytes.
const ROOM: usize = 1024;

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.parse().expect("a key")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").mode() & 0o777
    }

    #[test]
    fn a_switch_keeps_mode_and_the_key_before_and_can_be_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, "sk-old\n").expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a mode");
        switch(&path, &secret("sk-new")).expect("switched");
        let read = |path: &Path| fs::read_to_string(path).expect("a file");
        let kept = previous(&path);
        assert_eq!((read(&path).as_str(), read(&kept).as_str()), ("sk-new\n", "sk-old\n"));
        assert_eq!((mode(&path), mode(&kept)), (0o640, 0o600));
        switch_back(&path).expect("back");
        assert_eq!((read(&path).as_str(), kept.exists(), mode(&path)), ("sk-old\n", false, 0o640));
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "no draft is left: {left:?}");
    }

    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_switched() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&path, "sk-old\n").expect("a file");
        std::os::unix::fs::symlink("real", &link).expect("a link");
        switch(&link, &secret("sk-new")).expect("switched");
        assert!(link.is_symlink() && previous(&link) == previous(&path));
        assert_eq!(fs::read_to_string(&link).expect("a file"), "sk-new\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_no_key_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("none").join("key");
        let error = write(&missing, &secret("sk-canary")).expect_err("no folder").to_string();
        assert!(error.contains("none/key cannot be written") && !error.contains("canary"), "{error}");
        assert!(try_folder(&missing).is_err() && try_folder(&folder.path().join("key")).is_ok());
        let path = folder.path().join("key");
        write(&path, &secret("sk-next")).expect("written");
        assert_eq!(mode(&path), 0o600);
        let of_a_person = path.with_added_extension("new");
        fs::write(&of_a_person, "sk-prepared").expect("a file");
        try_folder(&path).expect("a folder that can be written");
        write(&path, &secret("sk-again")).expect("written");
        assert_eq!(fs::read_to_string(of_a_person).expect("it is there"), "sk-prepared");
        fs::write(draft(&path), "sk-half").expect("what a kill left");
        remove(&path).expect("removed");
        assert!(!draft(&path).exists(), "no key lies about");
        remove(&path).expect("as good");
    }
}
