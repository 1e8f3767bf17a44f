//! One JSON line per event on standard output.
//!
//! Lines are always whole: one thread writes them while it holds the lock of this process's standard output, and a line
//! that was written only in part is completed before the next one. `Delivered` means that the operating system has the
//! line; a pipe can promise no more.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Message, Sink,
    lines::{self, Failure, Target, Writer},
    message,
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::Preview,
};
use crate::{model::dispatch::Outcome, options::section::Section};

/// The largest number of bytes in one write.
const GROUP_BYTES: u64 = 256 * 1024;

/// The options of a `stdout` sink: none of its own.
#[derive(Debug, Clone, Default)]
pub struct Options;

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "stdout";
    const ABOUT: &'static str = "Writes one JSON line per event to standard output. It has no options of its own.";
    const CONCURRENCY: u32 = 256;
    const CALLS_OUT: bool = false;

    fn read(_: &mut Section<'_>, _: Surroundings<'_>) -> Option<Self> {
        Some(Self)
    }

    fn build(&self, _: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(Stdout::new(self)))
    }

    async fn check(&self, _: Duration) -> Result<String, String> {
        Stdout::new(self).check().await
    }

    fn preview(&self, message: &Message, _: Duration) -> Result<Preview, String> {
        Ok(message::preview(message))
    }
}

/// Writes to standard output.
#[derive(Debug)]
pub struct Stdout {
    /// The writer, or why there is none.
    writer: Result<Writer, String>,
}

impl Stdout {
    /// A sink for this process's standard output.
    ///
    /// If the operating system refuses a thread or a file descriptor, every delivery fails with that reason.
    pub fn new(_options: &Options) -> Self {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(output) => Self::on(output.into()),
            Err(error) => Self { writer: Err(format!("standard output cannot be used: {error}")) },
        }
    }

    /// A sink for another open file, such as a pipe.
    pub fn on(output: File) -> Self {
        let writer = Writer::spawn("sink-stdout", Output { file: output, rest: Vec::new() })
            .map_err(|error| format!("the sink's writing thread could not be started: {error}"));
        Self { writer }
    }
}

#[async_trait]
impl Sink for Stdout {
    async fn deliver(&self, message: &Message) -> Outcome {
        match &self.writer {
            Ok(writer) => writer.write(message::line(message)).await,
            Err(reason) => Outcome::Retry { reason: reason.clone(), after: None },
        }
    }

    /// Reports only whether standard output is open: a pipe cannot be tested further without writing to it.
    async fn check(&self) -> Result<String, String> {
        match &self.writer {
            Ok(_) => Ok("standard output is open".to_owned()),
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// An unbuffered file, so that it is known to the byte how much was written.
struct Output {
    file: File,
    /// The rest of a line that was written in part.
    rest: Vec<u8>,
}

impl Output {
    /// Writes the lines; an error says how many of them were written.
    fn put(&mut self, lines: &[&[u8]]) -> Result<(), (usize, io::Error)> {
        let mut bytes = self.rest.clone();
        let owed = bytes.len();
        bytes.extend(lines.iter().copied().flatten());
        let (written, error) = match write_counting(&mut self.file, &bytes) {
            Ok(()) => {
                self.rest.clear();
                return Ok(());
            }
            Err(failed) => failed,
        };
        let Some(mut written) = written.checked_sub(owed) else {
            self.rest.drain(..written);
            return Err((0, error));
        };
        self.rest.clear();
        for (whole, line) in lines.iter().enumerate() {
            if written < line.len() {
                if written > 0 {
                    line[written..].clone_into(&mut self.rest);
                }
                return Err((whole, error));
            }
            written -= line.len();
        }
        Err((lines.len(), error))
    }
}

/// Like `write_all`, but says how many bytes were written before an error.
fn write_counting(output: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

impl Target for Output {
    fn write(&mut self, lines: &[&[u8]]) -> Result<(), Failure> {
        let mut locked = io::stdout().lock();
        let failed = |safe, error: &io::Error| Failure { safe, reason: explain(error) };
        // Output that the process printed earlier comes first; if that fails, so would ours.
        locked.flush().map_err(|error| failed(0, &error))?;
        let mut safe = 0;
        while safe < lines.len() {
            let rest = &lines[safe..];
            let count = lines::fitting(rest, GROUP_BYTES).max(1);
            self.put(&rest[..count]).map_err(|(out, error)| failed(safe + out, &error))?;
            safe += count;
        }
        Ok(())
    }
}

fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::BrokenPipe => "its reader has ended: restart the service together with the reader",
        io::ErrorKind::WouldBlock => "its reader is slow, and the pipe is set to non-blocking",
        io::ErrorKind::StorageFull => "free some space where it is redirected to",
        _ => "check where it is redirected to",
    };
    format!("standard output cannot be written: {error}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Takes a few bytes at a time, then fails.
    struct Short<'a>(&'a mut Vec<u8>, usize);

    impl Write for Short<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(3).min(self.1);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= taken;
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn counts_what_went_out() {
        let mut taken = Vec::new();
        let (written, error) = write_counting(&mut Short(&mut taken, 7), b"0123456789").unwrap_err();
        assert_eq!((written, error.kind(), taken.as_slice()), (7, io::ErrorKind::StorageFull, &b"0123456"[..]));
        assert!(write_counting(&mut Short(&mut taken, 10), b"0123456789").is_ok());
    }

    /// A pipe that takes only so much and then says "would block": both ends of a socket pair can be
    /// told not to wait, which a pipe cannot without system calls of its own.
    #[test]
    fn a_line_cut_in_the_middle_is_completed_before_the_next() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut output = Output { file: std::os::fd::OwnedFd::from(ours).into(), rest: Vec::new() };
        let long = [vec![b'x'; 300_000], b"\n".to_vec()].concat();
        let lines = [b"first\n".as_slice(), &long, &long, &long];
        let failure = output.write(&lines).unwrap_err();
        assert!(failure.safe >= 1 && failure.safe < 4, "{failure:?}");
        assert!(failure.reason.contains("slow"), "{failure:?}");

        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        while output.write(&[b"last\n"]).is_err() {
            std::thread::yield_now();
        }
        drop(output);
        let all = reader.join().unwrap();
        let read: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(read.first(), Some(&b"first\n".as_slice()));
        assert_eq!(read.last(), Some(&b"last\n".as_slice()));
        assert!(read[1..read.len() - 1].iter().all(|line| *line == long), "every line is whole");
        assert!(read.len() - 2 >= failure.safe - 1, "what was called safe is there");
    }
}
