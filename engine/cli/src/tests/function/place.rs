//! A folder in which functions are made, with a `PATH` of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser;
use expect_test::Expect;

use super::super::Cli;

/// A folder `DIR` for functions, and `DIR/bin`, which is all that `PATH` has.
pub(super) struct Place(pub(super) tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        Self(dir)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a program there that is a shell script.
    pub(super) fn program(&self, path: &str, script: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Written by another process: one that a test beside this one starts could inherit the open file, and a file
        // that is open for writing does not run.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod +x \"$2\"";
        let args = [
            write.as_ref(),
            "sh".as_ref(),
            script.as_ref(),
            path.as_os_str(),
        ];
        let status = Command::new("/bin/sh").arg("-c").args(args).status();
        assert!(status.unwrap().success());
    }

    /// What is shown, and the exit status; words that begin with `DIR` are paths.
    pub(super) async fn type_in(&self, words: &str, variables: &[(&str, &str)]) -> String {
        let dir = self.0.path().to_str().unwrap().to_owned();
        let words = format!("millstream function {words}").replace("DIR", &dir);
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let path = self.path("bin").to_str().unwrap().to_owned();
        let variables = |name: &str| {
            let own = variables.iter().find(|(own, _)| *own == name);
            let own = own.map(|(_, value)| value.replace("DIR", &dir));
            own.or_else(|| (name == "PATH").then(|| path.clone()))
        };
        let mut console = crate::Console {
            out: &mut out,
            err: &mut err,
            input: &mut std::io::empty(),
            terminal: false,
            typed: false,
            variables: &variables,
        };
        let status = crate::run(&cli.connection, &cli.command, &mut console).await;
        let text = String::from_utf8([out, err].concat()).unwrap();
        format!("{text}= {status}\n").replace(&dir, "DIR")
    }

    pub(super) async fn check(&self, words: &str, expected: Expect) {
        expected.assert_eq(&self.type_in(words, &[]).await);
    }

    /// A function that was just begun.
    pub(super) async fn begun(language: &str, world: &str) -> Self {
        let place = Self::new();
        let words = format!("init band --language {language} --world {world} --dir DIR/band");
        let shown = place.type_in(&words, &[]).await;
        assert!(shown.ends_with("= 0\n"), "{shown}");
        place
    }
}
