//! Secrets that the service generates by itself and stores in files beside the `SQLite` database.
//!
//! `serve` calls [`read_or_create`] for each that is not configured. The file appears whole or not
//! at all, and when two processes race, both get the secret of the first. Files are readable by
//! their owner only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rand::{TryRngCore, rngs::OsRng};
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// A secret from a file.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The secret.
    pub secret: Secret,
    /// The file.
    pub path: PathBuf,
    /// True if this call created it; false if it was there already.
    pub created: bool,
    /// A warning for the operator, in a sentence: others could read the file.
    pub warning: Option<String>,
}

/// Reads the secret in `dir/name`, or creates one with `make` and stores it there.
///
/// The folder is created if it is missing. Blanks and newlines around the secret do not belong to it. A file that others may
/// read is closed to them, with a warning, because they may have read it already.
///
/// # Errors
/// `InvalidData` when the file is empty: it is not replaced, because the person who emptied it may have the
/// only copy. Otherwise what the file system says, with the path.
pub fn read_or_create(dir: &Path, name: &str, make: impl FnOnce() -> Secret) -> io::Result<Generated> {
    let path = dir.join(name);
    if let Some(found) = read(&path)? {
        return Ok(found);
    }
    fs::create_dir_all(dir).map_err(at(dir, "made"))?;
    let secret = make();
    // No other process uses this name. The link below gives the complete file its own name in one step, and fails if there
    // is a file with that name already.
    let temporary = dir.join(format!(".{name}.{:016x}.new", random_u64()));
    let linked = write_new(&temporary, &secret).and_then(|()| fs::hard_link(&temporary, &path));
    // Also after an error; a file that is left behind does no harm.
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => {
            // The folder entry has to reach the disk too.
            fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir, "flushed"))?;
            Ok(Generated { secret, path, created: true, warning: None })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(&path)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("`{}` was removed while it was read", path.display()))
        }),
        Err(error) => Err(at(&path, "written")(error)),
    }
}

/// Reads the secret in `dir/name`; `None` if there is no such file.
///
/// # Errors
/// As for [`read_or_create`].
pub fn find(dir: &Path, name: &str) -> io::Result<Option<Generated>> {
    read(&dir.join(name))
}

/// Renames the file `dir/from` to `dir/to`, which it replaces, in one step that survives a power cut.
///
/// # Errors
/// The error of the file system, with the path; then `to` is unchanged.
pub fn replace(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    fs::rename(dir.join(from), dir.join(to)).map_err(at(&dir.join(to), "replaced"))?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir, "flushed"))
}

/// `None` if there is no such file.
fn read(path: &Path) -> io::Result<Option<Generated>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path, "read")(error)),
    };
    let secret = text.trim();
    if secret.is_empty() {
        let what = format!(
            "`{}` is empty: put the secret back, or remove the file, and a new secret is generated",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let warning = tighten(path)?;
    Ok(Some(Generated { secret: Secret::new(secret), path: path.to_owned(), created: false, warning }))
}

fn tighten(path: &Path) -> io::Result<Option<String>> {
    let mode = fs::metadata(path).map_err(at(path, "looked at"))?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    let shown = path.display();
    let could = format!("`{shown}` holds a secret and others could use it (mode {:03o})", mode & 0o777);
    Ok(Some(match fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)) {
        Ok(()) => format!("{could}; it is closed to them now. Replace the secret if they may have read it"),
        Err(error) => format!("{could}, and it could not be closed to them ({error}): run `chmod 600 {shown}`"),
    }))
}

fn write_new(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Adds the path to the error of the file system.
fn at(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("`{}` cannot be {done}: {error}", path.display()))
}

/// A webhook secret in Finkare's form: `whsec_` and base64 of 32 random bytes.
pub fn webhook_secret() -> Secret {
    Secret::new(format!("whsec_{}", STANDARD.encode(random_bytes())))
}

/// An admin token: `relay_` and 32 random bytes in the base64 of URLs, without padding.
pub fn admin_token() -> Secret {
    Secret::new(format!("relay_{}", URL_SAFE_NO_PAD.encode(random_bytes())))
}

/// A master key: base64 of 32 random bytes, as `RELAY_MASTER_KEY` takes it.
pub fn master_key() -> Secret {
    Secret::new(STANDARD.encode(random_bytes()))
}

fn random_bytes() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(&mut *bytes).expect("the operating system gives random bytes");
    bytes
}

fn random_u64() -> u64 {
    OsRng.try_next_u64().expect("the operating system gives random bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep/data");
        let made = read_or_create(&folder, "token", admin_token).unwrap();
        assert!(made.created && made.warning.is_none());
        assert_eq!(mode(&made.path), 0o600);
        let found = read_or_create(&folder, "token", || panic!("there is one already")).unwrap();
        assert!(!found.created && found.warning.is_none());
        assert_eq!(found.secret, made.secret);
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["token"], "nothing temporary is left");
    }

    #[test]
    fn the_first_of_many_wins() {
        let dir = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(8);
        let race = || {
            read_or_create(dir.path(), "key", || {
                // All have seen that there is no file before the first writes one.
                barrier.wait();
                master_key()
            })
            .unwrap()
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.created).count(), 1);
        assert!(results.iter().all(|result| result.secret == results[0].secret));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_open_file_is_closed_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "  whsec_by_hand \n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let found = read_or_create(dir.path(), "secret", webhook_secret).unwrap();
        assert_eq!(found.secret.expose(), "whsec_by_hand");
        assert_eq!(mode(&path), 0o600);
        let warning = found.warning.unwrap();
        assert!(warning.contains("(mode 644)") && !warning.contains("by_hand"), "{warning}");
        assert!(read_or_create(dir.path(), "secret", webhook_secret).unwrap().warning.is_none());
    }

    #[test]
    fn an_empty_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), " \n").unwrap();
        let error = read_or_create(dir.path(), "secret", webhook_secret).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("secret` is empty"), "{error}");
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b" \n");
    }

    #[test]
    fn one_file_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let old = read_or_create(dir.path(), "key", master_key).unwrap();
        let new = read_or_create(dir.path(), "key.new", master_key).unwrap();
        replace(dir.path(), "key.new", "key").unwrap();
        let found = find(dir.path(), "key").unwrap().unwrap();
        assert!(found.secret == new.secret && found.secret != old.secret);
        assert!(find(dir.path(), "key.new").unwrap().is_none());
        assert!(replace(dir.path(), "key.new", "key").unwrap_err().to_string().contains("key` cannot be replaced"));
    }

    #[test]
    fn generated_secrets_have_their_forms() {
        let (secret, token, key) = (webhook_secret(), admin_token(), master_key());
        let bytes = STANDARD.decode(secret.expose().strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_ne!(bytes, [0; 32]);
        assert_eq!(URL_SAFE_NO_PAD.decode(token.expose().strip_prefix("relay_").unwrap()).unwrap().len(), 32);
        assert_eq!(STANDARD.decode(key.expose()).unwrap().len(), 32);
        assert_ne!(master_key(), key);
    }
}
