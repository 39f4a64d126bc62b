//! Files that only the holders of certain keys can read: in the format of age, encrypted to recipients.
//!
//! This machine knows the recipients alone. An identity, which opens what was encrypted to its recipient, comes here for a
//! restore and in a file; passphrases are neither asked for nor taken. Written is the binary form that the program `age`
//! reads and writes, streamed. A file that was cut off is told from a whole one at its end, since its last part says that it is
//! the last.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use age::x25519;

/// Bytes that are read at once; what age encrypts at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How an identity begins.
const SECRET: &str = "AGE-SECRET-KEY-";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "an identity of age stands where a recipient is meant: take it off this machine, and give what `age-keygen -y` prints of it, which begins with age1"
    )]
    Secret,
    #[error(
        "{0} is no recipient of age: give the public key that age-keygen prints, age1 and 58 letters and digits"
    )]
    NoRecipient(String),
    #[error("{path} cannot be read ({source}): give the file with the identity of a recipient")]
    File { path: PathBuf, source: io::Error },
    #[error("{0} has no identity of age: give a file with a line that begins with AGE-SECRET-KEY-1")]
    NoIdentity(PathBuf),
}

/// Whom files are encrypted to.
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// `None` where there are none.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<Option<Self>, KeyError> {
        let recipient = |text: &'t String| match text.trim() {
            // It is not told again.
            secret if secret.to_ascii_uppercase().starts_with(SECRET) => Err(KeyError::Secret),
            other => other.parse().map_err(|_| KeyError::NoRecipient(text.clone())),
        };
        let all: Vec<_> = texts.into_iter().map(recipient).collect::<Result<_, _>>()?;
        Ok((!all.is_empty()).then_some(Self(all)))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Encrypts all that can be read.
    pub(super) fn seal(&self, from: &mut impl Read, to: impl Write) -> io::Result<()> {
        let each = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(each).map_err(io::Error::other)?;
        let mut sealed = encryptor.wrap_output(to)?;
        io::copy(from, &mut sealed)?;
        sealed.finish()?.flush()
    }
}

/// What opens files.
pub struct Identities(Vec<x25519::Identity>);

/// Why a file is not opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// It was encrypted to others.
    OtherRecipients,
    /// It is not as it was written.
    Damaged(&'static str),
    /// What was in it cannot be written.
    Unwritten(io::Error),
}

impl Identities {
    /// Reads them as `age-keygen` writes them: one a line, among comments.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::File {
            path: path.to_owned(),
            source,
        })?;
        let all: Vec<_> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        match all.is_empty() {
            true => Err(KeyError::NoIdentity(path.to_owned())),
            false => Ok(Self(all)),
        }
    }

    /// Decrypts to the end. What was written until it fails is of no use.
    pub(super) fn open(&self, from: impl BufRead, to: &mut impl Write) -> Result<(), Unopened> {
        const HEAD: Unopened = Unopened::Damaged("its head is not as age wrote it");
        const BODY: Unopened = Unopened::Damaged("it was cut off or changed");
        let sealed = age::Decryptor::new_buffered(from).map_err(|_| HEAD)?;
        let each = self.0.iter().map(|identity| identity as &dyn age::Identity);
        let mut opened = sealed.decrypt(each).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => Unopened::OtherRecipients,
            _ => HEAD,
        })?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match opened.read(&mut chunk).map_err(|_| BODY)? {
                0 => return Ok(()),
                length => to.write_all(&chunk[..length]).map_err(Unopened::Unwritten)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// Key pairs for these tests alone.
    const ANA: (&str, &str) = (
        "age1fu8tuu9avzkn92ztjjk00l6qe62ycejuux4ytmg2t3hldl7x7pvqww63ex",
        "AGE-SECRET-KEY-15HKA39AUW6RFT8F5YP57C7HEVFE8K429SDDW477Z7XW8WKREJSWQL7YEKL",
    );
    const BO: (&str, &str) = (
        "age16jjl45xgvngsn4ysq2wt90nn6vfvgdsff57ax2jg94eejr94hpdskf9tww",
        "AGE-SECRET-KEY-1048V60RNECXALS4HJMYG8VXTK3LNZZ4USE5TZMUA46SX5VYC77ZQQ2RT4L",
    );
    const CAI: (&str, &str) = (
        "age1ut6w8w5t9jxdpkgwyvw8whaer5vffmzwhyy79t9aqhc22srres8qj5ucl9",
        "AGE-SECRET-KEY-1S3D5A5J7HE3GX5VN3K3UPWP2KTKV6RJ3KJQE9QMJX4GJSKNZHF9QAXJZZY",
    );

    fn recipients(keys: &[(&str, &str)]) -> Recipients {
        let keys: Vec<String> = keys.iter().map(|(public, _)| (*public).to_owned()).collect();
        Recipients::parse(&keys).unwrap().unwrap()
    }

    fn identity((public, secret): (&str, &str)) -> Identities {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.txt");
        std::fs::write(&path, format!("# public key: {public}\r\n\n{secret}\r\n")).unwrap();
        Identities::read(&path).unwrap()
    }

    fn sealed(keys: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
        let mut to = Vec::new();
        recipients(keys).seal(&mut &*content, &mut to).unwrap();
        to
    }

    fn opened(key: (&str, &str), sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let mut to = Vec::new();
        identity(key).open(sealed, &mut to).map(|()| to)
    }

    #[test]
    fn each_recipient_opens_it_alone_and_nobody_else() {
        for length in [
            0,
            1,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            2 * CHUNK_BYTES,
        ] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = sealed(&[ANA, BO], &content);
            assert_eq!(opened(ANA, &sealed).unwrap(), content, "{length}");
            assert_eq!(opened(BO, &sealed).unwrap(), content, "{length}");
            assert!(matches!(opened(CAI, &sealed), Err(Unopened::OtherRecipients)));
        }
    }

    #[test]
    fn what_was_cut_off_or_changed_is_not_opened() {
        let content = [7; 40];
        let whole = sealed(&[ANA], &content);
        assert_eq!(opened(ANA, &whole).unwrap(), content);
        let ana = identity(ANA);
        let open = |bytes: &[u8]| ana.open(bytes, &mut io::sink());
        for length in 0..whole.len() {
            assert!(
                matches!(open(&whole[..length]), Err(Unopened::Damaged(_))),
                "{length}"
            );
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(open(&changed).is_err(), "{at}");
        }
        assert!(open(&[&whole[..], &[0]].concat()).is_err());
        // Of two parts the first alone is a whole part, and no whole file.
        let long = sealed(&[ANA], &vec![7; 2 * CHUNK_BYTES]);
        const TAG_BYTES: usize = 16;
        let first = &long[..long.len() - CHUNK_BYTES - TAG_BYTES];
        assert!(matches!(open(first), Err(Unopened::Damaged(_))));
    }

    #[test]
    fn what_cannot_be_written_is_no_damage() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let whole = sealed(&[ANA], b"content");
        let why = identity(ANA).open(&whole[..], &mut Full).unwrap_err();
        assert!(matches!(why, Unopened::Unwritten(_)), "{why:?}");
    }

    /// Of `age -r ANA -r BO`, version 1.1.1.
    #[test]
    fn what_the_program_age_has_written_is_opened() {
        const WRITTEN: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBDN0pUZjhPVENXWklnMTkxZFB3NzY2UjlZRGxmbXpEOXVRaVFMdUNYcDBB\
             ClJjdGpxYjNaY1d3TjRCcXh0anVOblJXbWc3NFhEcTMrdmx1RE1qTDFUb00KLT4gWDI1NTE5IG9sZlFDQWc4MVdiOHRDWS8wV1ps\
             bDEyUzNXaXU4ZFE3WkpuYWVEMks0UVEKWERQTGtCT3UwamwvcC9OWlNjQmJHL0RTcDZRQUFHZXZibmM3V2d1ajdITQotLS0gU3lB\
             OGIvejRGb094NlVFcFY1cEQrVlY4TVJPekx5anV5QUk3N1BYZld4UQoFQt9/5KI/aUDX34q50rO0G4DaQB+D55xzYT11KDkE+CZh\
             ay+r++yVkvBaFfEZSSduyg==";
        let bytes = BASE64_STANDARD.decode(WRITTEN).unwrap();
        for key in [ANA, BO] {
            assert_eq!(opened(key, &bytes).unwrap(), b"what stands in it\n");
        }
        assert!(matches!(opened(CAI, &bytes), Err(Unopened::OtherRecipients)));
        const BY_PASSPHRASE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBXTmJSYkZKajlyNmRSaUticlZ0SnJRIDE4CnFOaHZ0ZEhQaTVuNUowVEFE\
             aVRWNHBTVUtQRlpMdmFBMDJZcHl1S1czZmsKLS0tIEdIQk1kWDlYUHdRT2JZZW9UV2NGWnlhQU9qRFRnZUJkRlBtelBqd1ZDY1EK\
             MdBCycbpztYzPyklghIi3uxUOpWTpjhIR3TedhZaFAh6";
        let bytes = BASE64_STANDARD.decode(BY_PASSPHRASE).unwrap();
        assert!(matches!(opened(ANA, &bytes), Err(Unopened::OtherRecipients)));
    }

    #[test]
    fn only_public_keys_are_recipients() {
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Recipients::parse(&texts).map(|keys| keys.map_or(0, |keys| keys.count()))
        };
        assert_eq!(parse(&[]).unwrap(), 0);
        assert_eq!(parse(&[ANA.0, BO.0]).unwrap(), 2);
        let padded = format!(" {} ", ANA.0);
        assert_eq!(parse(&[&padded]).unwrap(), 1);
        for secret in [ANA.1, &ANA.1.to_lowercase(), "AGE-SECRET-KEY-PQ-1QQ"] {
            let error = parse(&[ANA.0, secret]).unwrap_err();
            assert!(matches!(error, KeyError::Secret), "{error}");
            assert!(!error.to_string().contains(&secret[16..]), "{error}");
        }
        let other = ANA.0.replace("age1", "age2");
        for no_key in ["", "age1", &ANA.0[..50], &other, "ssh-ed25519 AAAA"] {
            assert!(
                matches!(parse(&[no_key]), Err(KeyError::NoRecipient(_))),
                "{no_key}"
            );
        }
    }
}
