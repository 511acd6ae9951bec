//! Programs that know nothing of Commons share segments with it: Python's `multiprocessing.shared_memory`,
//! and C with plain `shm_open`, in both directions. Sweeping leaves theirs alone.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use commons::{Lifetime, Namespace, Segment, SegmentOptions};

/// A name in POSIX shared memory that is this test's own, deleted at the end.
struct Name(String);

impl Name {
    fn new(what: &str) -> Name {
        Name(format!("commons-test-{what}-{}", std::process::id()))
    }

    fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn has(program: &str, test: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        eprintln!("SKIPPED: {test}: needs {program}");
    }
    there
}

fn python(code: &str, name: &Name) -> String {
    run(Command::new("python3").args(["-c", code, &name.0]))
}

#[test]
fn python_opens_ours_and_we_open_pythons() {
    if !has("python3", "python_opens_ours_and_we_open_pythons") {
        return;
    }
    let posix = Namespace::posix().unwrap();
    let ours = Name::new("ours");
    let segment = SegmentOptions::new().size(5000).namespace(&posix).create(&ours.0).unwrap();
    let memory = segment.attach().unwrap();
    memory.write_at(0, b"hello from commons").unwrap();
    // Python's tracker would delete what it merely opened: tell it not to, as its users have to.
    let code = "
import sys
from multiprocessing import resource_tracker, shared_memory
shm = shared_memory.SharedMemory(sys.argv[1])
resource_tracker.unregister(shm._name, 'shared_memory')
print(bytes(shm.buf[:18]).decode(), shm.size)
shm.buf[100:106] = b'python'
shm.close()
";
    assert_eq!(python(code, &ours).trim(), "hello from commons 5000");
    let mut bytes = [0; 6];
    memory.read_at(100, &mut bytes).unwrap();
    assert_eq!(&bytes, b"python");
    drop((segment, memory));
    assert!(!ours.path().exists());

    let theirs = Name::new("theirs");
    let code = "
import sys
from multiprocessing import resource_tracker, shared_memory
shm = shared_memory.SharedMemory(sys.argv[1], create=True, size=12345)
resource_tracker.unregister(shm._name, 'shared_memory')
shm.buf[:5] = b'snake'
shm.close()
";
    python(code, &theirs);
    posix.sweep().unwrap();
    let segment = SegmentOptions::new().namespace(&posix).open(&theirs.0).unwrap();
    assert_eq!((segment.size().unwrap(), segment.lifetime()), (12345, Lifetime::UntilDeleted));
    let mut bytes = [0; 5];
    segment.attach().unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"snake");
    drop(segment);
    assert!(theirs.path().exists(), "leaving does not delete what is not marked");
    posix.delete(&theirs.0).unwrap();
}

const C: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int count, char **arguments) {
    int create = !strcmp(arguments[1], "create");
    int fd = shm_open(arguments[2], create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (fd < 0 || (create && ftruncate(fd, 7000))) { perror("shm_open"); return 1; }
    struct stat status;
    if (fstat(fd, &status)) return 1;
    char *memory = mmap(0, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) { perror("mmap"); return 1; }
    printf("%ld %.5s", (long)status.st_size, memory);
    strcpy(memory + 10, "from C");
    return 0;
}
"#;

#[test]
fn c_programs_open_ours_and_we_open_theirs() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    if !has(&compiler, "c_programs_open_ours_and_we_open_theirs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("peer.c"), directory.path().join("peer"));
    std::fs::write(&source, C).unwrap();
    run(Command::new(compiler).arg(&source).arg("-o").arg(&program).arg("-lrt"));

    let ours = Name::new("c-ours");
    let posix = Namespace::posix().unwrap();
    let options = SegmentOptions::new().namespace(&posix);
    let segment = SegmentOptions::new().size(6000).namespace(&posix).create(&ours.0).unwrap();
    let memory = segment.attach().unwrap();
    memory.write_at(0, b"ours!").unwrap();
    // With the slash that POSIX asks for.
    assert_eq!(run(Command::new(&program).args(["open", &format!("/{}", ours.0)])), "6000 ours!");
    let mut bytes = [0; 6];
    memory.read_at(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from C");

    let theirs = Name::new("c-theirs");
    run(Command::new(&program).args(["create", &format!("/{}", theirs.0)]));
    posix.sweep().unwrap();
    let segment = options.open(&theirs.0).unwrap();
    assert_eq!(segment.size().unwrap(), 7000);
    segment.attach().unwrap().read_at(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from C");
    posix.delete(format!("/{}", theirs.0)).unwrap();
    assert!(!theirs.path().exists());
}

#[test]
fn the_default_namespace_is_posix_shared_memory() {
    if std::env::var_os("COMMONS_NAMESPACE").is_some() {
        eprintln!("SKIPPED: the_default_namespace_is_posix_shared_memory: COMMONS_NAMESPACE is set");
        return;
    }
    let name = Name::new("default");
    let segment = Segment::create(&name.0, 4096).unwrap();
    assert!(name.path().exists());
    assert!(Segment::open(format!("/{}", name.0)).is_ok());
    assert!(!Segment::open_or_create(&name.0, 100).unwrap().was_created());
    drop(segment);
    assert!(!name.path().exists());
}
