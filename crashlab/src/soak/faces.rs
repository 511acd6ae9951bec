//! The other faces in the long run: the command, and the drop-ins as programs have them.
//!
//! What is in the model of each: the command never dies by itself, and says why it failed. Of System V: who takes the one
//! unit that there is by `SEM_UNDO` is the only one alive who has it, and at the end it is back; an attachment counts for as long
//! as its process lives, and no longer. Memory of all three is zero, or has what one of the workers wrote.

use std::ffi::{CStr, c_int};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{BUSY, KEPT, NO_SPACE, UNIT, Worker};
use crate::dropins::{self, System};
use crate::process;
use crate::scenarios::{gpl, nspr, system_v, system_v_sem as sem};
use crate::world::World;

const UNIT_KEY: c_int = 0x4c41_4251;
const MEMORY_KEYS: [c_int; 2] = [0x4c41_4252, 0x4c41_4253];
const MEMORY: &CStr = c"soak";
/// What workers write into memory of the drop-ins.
const MARK: u8 = 0x6d;
/// What the command says where there was no memory.
const NO_MEMORY: [&str; 3] = ["are needed and", "os error 28", "os error 12"];
/// What else of its complaints is no fault: it came too late or too early, or somebody was stopped.
const NO_FAULT: [&str; 4] = ["no segment", "there is no", "exists", "busy"];

/// The faces that can be had here; those that cannot are named.
pub(super) struct Faces {
    command: Option<PathBuf>,
    dropins: Vec<System>,
}

impl Faces {
    /// Also makes what is to be there from the beginning.
    pub(super) fn new() -> Faces {
        let beside = std::env::current_exe().map(|executable| executable.with_file_name("commons"));
        let command = beside.ok().filter(|path| path.exists());
        if command.is_none() {
            println!("SKIPPED: the command in the long run: it is not beside this executable");
        }
        let mut dropins = Vec::new();
        for system in System::ALL {
            match dropins::missing(system) {
                None => dropins.push(system),
                Some(why) => println!("SKIPPED: {system:?} in the long run: {why}"),
            }
        }
        let mut faces = Faces { command, dropins };
        if faces.has(System::SystemV) {
            let made =
                sem::get(UNIT_KEY, libc::IPC_CREAT).and_then(|id| sem::control(id, 0, libc::SETVAL, 1));
            if let Err(code) = made {
                println!("SKIPPED: System V in the long run: {}", dropins::text("semget", code));
                faces.dropins.retain(|system| *system != System::SystemV);
            }
        }
        faces
    }

    fn has(&self, system: System) -> bool {
        self.dropins.contains(&system)
    }

    /// Looks at what must be true when all are gone, and removes what stays until it is removed.
    pub(super) fn end(&self, world: &World) -> Result<(), String> {
        if self.has(System::Nspr) {
            let _ = nspr::delete_memory(world);
        }
        if !self.has(System::SystemV) {
            return Ok(());
        }
        for key in MEMORY_KEYS {
            if let Ok(id) = system_v::get(key, 0) {
                let attached = system_v::status(id).map_or(0, |status| status.shm_nattch);
                let _ = system_v::rm(id);
                if attached != 0 {
                    return Err(format!("System V's memory counts {attached} attachments, and all are dead"));
                }
            }
        }
        let value = sem::get(UNIT_KEY, 0).and_then(|id| {
            let value = sem::control(id, 0, libc::GETVAL, 0);
            let _ = sem::control(id, 0, libc::IPC_RMID, 0);
            value
        });
        match value {
            Ok(1) => Ok(()),
            other => Err(format!("System V's semaphore is {other:?} when all are dead, and not 1")),
        }
    }
}

/// What a call gives for an id whose segment was removed meanwhile.
const REMOVED: [c_int; 2] = [libc::EINVAL, libc::EIDRM];

impl Worker<'_> {
    /// One of the other faces; nothing if it cannot be had.
    pub(super) fn another_face(&mut self) {
        match self.random.below(6) {
            0 => self.command(),
            1..=2 if self.faces.has(System::SystemV) => self.unit(),
            3 if self.faces.has(System::SystemV) => self.system_v_memory(),
            4 if self.faces.has(System::Gpl) => self.gpl_memory(),
            5 if self.faces.has(System::Nspr) => self.nspr_memory(),
            _ => {}
        }
    }

    fn command(&mut self) {
        self.step(17);
        let Some(path) = &self.faces.command else { return };
        let parent = rustix::process::getpid();
        let saved = self.world.file("saved by command").to_string_lossy().into_owned();
        let arguments: &[&str] = match self.random.below(7) {
            0 => &["ls"],
            1 => &["info", KEPT[0]],
            2 => &["sweep"],
            3 => &["locks"],
            4 => &["create", "by command", "8192"],
            5 => &["rm", "by command"],
            _ => &["save", KEPT[1], &saved],
        };
        let mut command = Command::new(path);
        command.arg("--namespace").arg(self.world.directory()).args(arguments);
        command.stdin(Stdio::null());
        // SAFETY: two system calls, between `fork` and `exec`. It goes with the worker.
        unsafe {
            command.pre_exec(move || {
                process::leave_with(parent);
                Ok(())
            })
        };
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return self.violation(&format!("the command cannot be started: {error}")),
        };
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.trim_end();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        match output.status.code() {
            Some(0) => {}
            Some(1) if says(&NO_MEMORY) => self.count(NO_SPACE),
            Some(1) if says(&NO_FAULT) => self.count(BUSY),
            Some(code) => self.violation(&format!("commons {arguments:?} ended with {code}: {text}")),
            None => {
                self.violation(&format!("commons {arguments:?} died of signal {:?}", output.status.signal()));
            }
        }
    }

    /// A call that was refused: there was no memory, or somebody was stopped, or it is one of these.
    fn failed(&self, call: &str, code: c_int, no_fault: &[c_int]) {
        match code {
            libc::ENOSPC | libc::ENOMEM => self.count(NO_SPACE),
            libc::EAGAIN | libc::EBUSY => self.count(BUSY),
            code if no_fault.contains(&code) => {}
            code => self.violation(&dropins::text(call, code)),
        }
    }

    /// Takes the one unit that there is, and gives it back.
    fn unit(&mut self) {
        self.step(18);
        let id = match sem::get(UNIT_KEY, 0) {
            Ok(id) => id,
            Err(code) => return self.violation(&dropins::text("semget of what is there", code)),
        };
        let time = Duration::from_micros(self.random.below(100_000));
        match sem::operate_within(id, &[sem::step(0, -1, sem::UNDO)], time) {
            Ok(()) => {}
            // `ENOSPC` is the kernel's word too, for no memory for what is owed.
            Err(libc::EAGAIN) => return,
            Err(code @ (libc::ENOSPC | libc::ENOMEM)) => return self.failed("semop", code, &[]),
            Err(code) => return self.violation(&dropins::text("semop, to take", code)),
        }
        let holder = &self.ledger.counts[UNIT];
        let before = holder.swap(u64::from(std::process::id()), Relaxed);
        if before != 0 && self.ledger.is_living(before) {
            self.violation("two have the one unit of a System V semaphore");
        }
        if self.random.once_in(8) {
            std::thread::sleep(Duration::from_micros(self.random.below(500)));
        }
        holder.store(0, Relaxed);
        if let Err(code) = sem::operate(id, &[sem::step(0, 1, sem::UNDO)]) {
            self.violation(&dropins::text("semop, to give back", code));
        }
    }

    /// Looks at memory that is attached, and writes some.
    fn use_memory(&mut self, whose: &str, address: *mut u8, size: usize) {
        // SAFETY: attached, with so many bytes; others write single bytes of it, all the same one.
        let bytes =
            unsafe { std::slice::from_raw_parts(address.cast::<std::sync::atomic::AtomicU8>(), size) };
        if let Some(strange) =
            bytes.iter().map(|byte| byte.load(Relaxed)).find(|byte| ![0, MARK].contains(byte))
        {
            self.violation(&format!("{whose}: a byte is {strange:#x}, which nobody wrote"));
        }
        bytes[self.random.below(size as u64) as usize].store(MARK, Relaxed);
        if self.random.once_in(8) {
            std::thread::sleep(Duration::from_micros(self.random.below(500)));
        }
    }

    fn system_v_memory(&mut self) {
        self.step(19);
        let id = match system_v::get(MEMORY_KEYS[self.random.below(2) as usize], libc::IPC_CREAT) {
            Ok(id) => id,
            Err(code) => return self.failed("shmget", code, &[]),
        };
        let address = match system_v::at(id) {
            Ok(address) => address,
            Err(code) => return self.failed("shmat", code, &REMOVED),
        };
        self.use_memory("System V's memory", address, system_v::SIZE);
        match system_v::status(id) {
            // What was removed may be found no more, though it is attached.
            Err(code) => self.failed("IPC_STAT", code, &REMOVED),
            Ok(status) if (1..=self.processes).contains(&status.shm_nattch) => {}
            Ok(status) => {
                self.violation(&format!("{} attachments by {} processes", status.shm_nattch, self.processes));
            }
        }
        if self.random.once_in(4) {
            if let Err(code) = system_v::rm(id) {
                self.failed("IPC_RMID", code, &REMOVED);
            }
        }
        if let Err(code) = system_v::dt(address) {
            self.violation(&dropins::text("shmdt", code));
        }
    }

    fn gpl_memory(&mut self) {
        self.step(20);
        match gpl::shm_create(MEMORY, gpl::SIZE) {
            Ok(memory) => {
                self.use_memory("libgpl's memory", gpl::address(memory), gpl::SIZE);
                if let Err(code) = gpl::shm_destroy(memory) {
                    self.violation(&dropins::text("shmDestroy", code));
                }
            }
            Err(code) => self.failed("shmCreate", code, &[]),
        }
    }

    fn nspr_memory(&mut self) {
        self.step(21);
        let memory = match nspr::open(self.world, nspr::CREATE) {
            Ok(memory) => memory,
            Err(code) => return self.failed("PR_OpenSharedMemory", code, &[]),
        };
        match nspr::at(memory) {
            Ok(address) => {
                self.use_memory("NSPR's memory", address.cast(), nspr::SIZE);
                if let Err(code) = nspr::dt(memory, address) {
                    self.violation(&dropins::text("PR_DetachSharedMemory", code));
                }
            }
            Err(code) => self.failed("PR_AttachSharedMemory", code, &[]),
        }
        if let Err(code) = nspr::close_memory(memory) {
            self.violation(&dropins::text("PR_CloseSharedMemory", code));
        }
        if self.random.once_in(4) {
            if let Err(code) = nspr::delete_memory(self.world) {
                self.failed("PR_DeleteSharedMemory", code, &[libc::ENOENT]);
            }
        }
    }
}
