//! A program of others': started, stopped and killed as Readside is.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use anyhow::Result;

use crate::harness::process::{Process, RunAs, Signal, run};
use crate::harness::scratch::Scratch;

pub(crate) struct Program {
    what: &'static str,
    process: Process,
    // After the process: it is killed before its directory goes.
    scratch: Scratch,
    launch: Launch,
}

/// The program, its arguments and its environment; all run in the scratch directory.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Launch {
    pub(crate) fn command(&self, scratch: &Scratch) -> Command {
        let mut command = RunAs::Ourselves.command(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.current_dir(scratch.path());
        command
    }
}

impl Program {
    pub(crate) fn start(what: &'static str, scratch: Scratch, launch: Launch) -> Program {
        let process = begin(what, &scratch, &launch);
        Program { what, process, scratch, launch }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    pub(crate) fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    pub(crate) async fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.ended().await;
    }

    /// Kills first when it is still running.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        self.process = begin(self.what, &self.scratch, &self.launch);
    }
}

fn begin(what: &str, scratch: &Scratch, launch: &Launch) -> Process {
    Process::start(what, launch.command(scratch), &scratch.path().join("log"))
}

/// Where `tests/servers/rivals.sh` has put them.
pub(crate) struct Homes {
    pub(crate) debezium: PathBuf,
    pub(crate) java: PathBuf,
    pub(crate) pgsync: PathBuf,
}

pub(crate) fn homes() -> Result<&'static Homes> {
    static HOMES: OnceLock<Homes> = OnceLock::new();
    if let Some(homes) = HOMES.get() {
        return Ok(homes);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/rivals.sh");
    let mut install = Command::new(script);
    install.arg("install");
    let told = run("rivals.sh install", install);
    let [debezium, java, pgsync] = told.lines().collect::<Vec<_>>()[..] else {
        anyhow::bail!("rivals.sh install says: {told}");
    };
    let homes = Homes { debezium: debezium.into(), java: java.into(), pgsync: pgsync.into() };
    Ok(HOMES.get_or_init(|| homes))
}
