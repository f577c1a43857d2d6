//! Server processes that never outlive the test binary.
//!
//! Each is started through `setpriv --pdeathsig KILL`: the kernel kills it with the thread that
//! started it. So one thread that lives as long as the process starts them all; a test's own
//! thread would take servers with it that other tests share.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::wait;

pub(crate) struct Process {
    what: String,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
}

/// Who a server runs as. PostgreSQL and the search servers refuse root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    Ourselves,
    User { uid: u32, gid: u32 },
}

impl RunAs {
    /// The first of `names` that exists, when we are root; else ourselves.
    pub(crate) fn unprivileged(names: &[&str]) -> RunAs {
        if !rustix::process::geteuid().is_root() {
            return RunAs::Ourselves;
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        for name in names {
            for line in passwd.lines() {
                let fields: Vec<&str> = line.split(':').collect();
                if let [user, _, uid, gid, ..] = fields[..]
                    && user == *name
                    && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
                {
                    return RunAs::User { uid, gid };
                }
            }
        }
        panic!("running as root, and none of the users {names:?} exists to run a server as");
    }

    pub(crate) fn own(self, path: &Path) {
        if let RunAs::User { uid, gid } = self {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .unwrap_or_else(|e| panic!("cannot give away {}: {e}", path.display()));
        }
    }

    /// A command that becomes `program` in the same process.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let RunAs::User { uid, gid } = self {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        command.arg("--").arg(program);
        command
    }
}

impl Process {
    /// `command` is from [`RunAs::command`]; what it prints is appended to `log`.
    pub(crate) fn start(what: &str, mut command: Command, log: &Path) -> Process {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", log.display()));
        let err = out.try_clone().expect("a file handle can be duplicated");
        // A group of its own: Ctrl-C in the terminal reaches the test binary alone.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = spawn(command).unwrap_or_else(|e| {
            panic!("cannot start {what}: {e} (setpriv is in the package util-linux)")
        });
        Process { what: what.into(), child, status: None, log: log.into() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our child can be waited for");
        }
        self.status
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            // It may end between the two lines; it is not reaped, so the number is still its own.
            kill_process(pid, signal)
                .unwrap_or_else(|e| panic!("cannot signal {}: {e}", self.what));
        }
    }

    /// Gone when this returns, without having had a say.
    pub(crate) fn kill9(&mut self) {
        if self.exited().is_none() {
            self.child.kill().expect("our child can be killed");
            self.status = Some(self.child.wait().expect("our child can be waited for"));
        }
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait::until(&what, async || self.exited().ok_or("still running")).await
    }

    /// Everything it has printed, starts before this one included.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log(), 40)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("---- end of the log of {} ----\n{}----", self.what, self.log_tail());
        }
    }
}

/// Kills a process that is not our child: a server that its start script keeps as its own child.
pub(crate) fn kill9_pid(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    // It may have ended already.
    let _ = kill_process(pid, Signal::KILL);
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().flat_map(|line| [line, "\n"]).collect()
}

/// Runs a helper program to its end; panics with all it printed when it fails.
pub(crate) fn run(what: &str, mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {what}: {e}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed ({}):\n{out}{err}", output.status);
    out
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, inbox) = mpsc::sync_channel::<Order>(0);
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // The one who asked may have been cancelled; then nobody owns the child.
                    if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                        let _ = child.kill();
                    }
                }
            })
            .expect("a thread can be started");
        orders
    });
    let (answer, result) = mpsc::sync_channel(1);
    orders.send((command, answer)).expect("the spawner lives as long as the process");
    result.recv().expect("the spawner answers")
}
