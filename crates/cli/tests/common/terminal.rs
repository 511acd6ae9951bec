//! A pseudo-terminal with a program in it, and what can be seen on its screen.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A terminal. The program in it is killed with it.
pub struct Terminal {
    /// `None` once it is hung up.
    keyboard: Option<File>,
    /// The program's side. Held, so that its mode can be looked at after the program.
    line: Option<OwnedFd>,
    screen: vt100::Parser,
    /// The terminal's mode before the program.
    before: String,
    /// All that the program wrote.
    pub output: Vec<u8>,
    pub child: Child,
}

impl Terminal {
    pub fn start(command: Command, columns: u16, rows: u16) -> Terminal {
        Terminal::start_ignoring(command, columns, rows, None)
    }

    /// The program is started with a signal ignored, as `nohup` does.
    pub fn start_ignoring(mut command: Command, columns: u16, rows: u16, ignored: Option<i32>) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&line, size(columns, rows)).unwrap();
        let before = mode(&line);
        let side = || line.try_clone().unwrap();
        command.env("TERM", "xterm-256color").stdin(side()).stdout(side()).stderr(side());
        // SAFETY: only system calls are made between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if let Some(signal) = ignored {
                    libc::signal(signal, libc::SIG_IGN);
                }
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            })
        };
        let child = command.spawn().unwrap();
        Terminal {
            keyboard: Some(File::from(keyboard)),
            line: Some(line),
            screen: vt100::Parser::new(rows, columns, 0),
            before,
            output: Vec::new(),
            child,
        }
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.screen.screen()
    }

    pub fn text(&self) -> String {
        self.screen().contents()
    }

    /// Takes what the program writes, for a moment at most; whether there was any.
    fn take(&mut self) -> bool {
        let Some(keyboard) = &mut self.keyboard else { return false };
        let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let ready = poll(&mut [PollFd::new(keyboard, PollFlags::IN)], Some(&timeout)).unwrap();
        if ready == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        match keyboard.read(&mut bytes) {
            Ok(count) => {
                self.screen.process(&bytes[..count]);
                self.output.extend_from_slice(&bytes[..count]);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn wait(&mut self, what: &str, mut reached: impl FnMut(&vt100::Screen) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !reached(self.screen()) {
            self.take();
            assert!(Instant::now() < end, "{what} was not shown:\n{}", self.text());
        }
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait(text, |screen| screen.contents().contains(text));
    }

    pub fn send(&mut self, keys: &[u8]) {
        rustix::io::write(self.keyboard.as_ref().unwrap(), keys).unwrap();
    }

    /// Makes it larger or smaller; the system tells the program.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.set_size(rows, columns);
        self.claim_size(columns, rows);
    }

    /// Says that it has another size, which it has not.
    pub fn claim_size(&self, columns: u16, rows: u16) {
        tcsetwinsize(self.line.as_ref().unwrap(), size(columns, rows)).unwrap();
    }

    /// Whether its mode is what it was before the program.
    pub fn has_mode_of_before(&self) -> bool {
        mode(self.line.as_ref().unwrap()) == self.before
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Takes the terminal away.
    pub fn hang_up(&mut self) {
        self.line = None;
        self.keyboard = None;
    }

    /// Waits until the program has ended, and takes all that it wrote.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let status = self.wait_for_end(true);
        while self.take() {}
        status
    }

    /// Waits until the program has ended, while nobody reads what it writes.
    #[track_caller]
    pub fn end_unread(&mut self) -> ExitStatus {
        self.wait_for_end(false)
    }

    #[track_caller]
    fn wait_for_end(&mut self, read: bool) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it did not end:\n{}", self.text());
            if !(read && self.take()) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal's mode, to be compared.
fn mode(line: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(line).unwrap())
}
