//! The job that executes a program on the command interpreter: awaits and combinators over awakeables,
//! signals, sleeps and runs, with results that are known beforehand.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Driver, Result, decode};
use crate::random::Random;

const INTERPRETER: &str = "VirtualObjectCommandInterpreter";

/// A variable that the services are started with, and its value.
pub(crate) const VARIABLE: (&str, &str) = ("FAILURE_TEST", "set");

/// A sleep that nobody awaits to its end.
const LONG: u64 = 3_600_000;

/// What a program waits for from outside, in the order in which it does.
enum Outside {
    Resolve { awakeable: String, value: String },
    Reject { awakeable: String, reason: String },
    Signal { name: String, value: String },
}

/// A program in the making.
#[derive(Default)]
struct Program {
    commands: Vec<Value>,
    results: Vec<String>,
    outside: Vec<Outside>,
    names: usize,
}

impl Program {
    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn push(&mut self, command: Value, result: impl Into<String>) {
        self.commands.push(command);
        self.results.push(result.into());
    }

    /// An awakeable that is resolved; and its value.
    fn awakeable(&mut self) -> (Value, String) {
        let (awakeable, value) = (self.name("a"), self.name("value "));
        let create = json!({ "type": "createAwakeable", "awakeableKey": awakeable });
        self.outside.push(Outside::Resolve {
            awakeable,
            value: value.clone(),
        });
        (create, value)
    }

    /// Something that comes to its end with a value; and this value.
    fn anything(&mut self, random: &mut Random) -> (Value, String) {
        match random.below(4) {
            0 => self.awakeable(),
            1 => {
                let (name, value) = (self.name("s"), self.name("signalled "));
                let create = json!({ "type": "createSignal", "signalName": name });
                let outside = Outside::Signal {
                    name,
                    value: value.clone(),
                };
                self.outside.push(outside);
                (create, value)
            }
            2 => {
                let sleep = json!({ "type": "sleep", "timeoutMillis": random.between(1, 200) });
                (sleep, "sleep".to_owned())
            }
            _ => self.run(),
        }
    }

    fn run(&mut self) -> (Value, String) {
        let value = self.name("returned ");
        (json!({ "type": "runReturns", "value": value }), value)
    }

    fn command(&mut self, random: &mut Random) {
        match random.below(7) {
            0 | 1 => {
                let (command, value) = self.anything(random);
                self.push(json!({ "type": "awaitOne", "command": command }), value);
            }
            2 => {
                // Only one of them ends. The awakeable is left, and may be completed any time.
                let (command, value) = self.anything(random);
                let left = self.name("left");
                let never = json!({ "type": "createAwakeable", "awakeableKey": left });
                let long = json!({ "type": "sleep", "timeoutMillis": LONG });
                let commands = [never, command, long];
                self.push(json!({ "type": "awaitAny", "commands": commands }), value);
                if random.chance(300) {
                    let complete = json!({ "type": "resolveAwakeable", "awakeableKey": left, "value": "late" });
                    self.push(complete, "");
                }
            }
            3 => {
                let started: Vec<_> = (0..random.between(2, 6))
                    .map(|_| self.anything(random))
                    .collect();
                let (commands, values): (Vec<_>, Vec<_>) = started.into_iter().unzip();
                let all = json!({ "type": "awaitAllSucceededOrFirstFailed", "commands": commands });
                self.push(all, values.join("|"));
            }
            4 => {
                let awakeable = self.name("a");
                let rejected = json!({ "type": "createAwakeable", "awakeableKey": awakeable });
                self.outside.push(Outside::Reject {
                    awakeable,
                    reason: "rejected".to_owned(),
                });
                let thrown = json!({ "type": "runThrowTerminalException", "reason": "thrown" });
                let (other, value) = self.anything(random);
                let all =
                    json!({ "type": "awaitAllCompleted", "commands": [thrown, other, rejected] });
                self.push(all, format!("err:thrown|ok:{value}|err:rejected"));
            }
            5 => {
                let thrown = json!({ "type": "runThrowTerminalException", "reason": "thrown" });
                let (other, value) = self.anything(random);
                let any = json!({ "type": "awaitAnySuccessful", "commands": [thrown, other] });
                self.push(any, value);
            }
            _ => {
                let (name, value) = VARIABLE;
                self.push(json!({ "type": "getEnvVariable", "envName": name }), value);
            }
        }
    }
}

/// Executes a program of some commands; the last may be one that fails.
pub(super) async fn program(t: &Driver, random: &mut Random) -> Result {
    let mut program = Program::default();
    for _ in 0..random.between(1, 5) {
        program.command(random);
    }
    let object = t.name("program-");
    let key = t.name("key-");
    let fails = random.chance(100);
    if fails {
        let (awakeable, timeout) = (program.name("never"), random.between(1, 100));
        program.commands.push(json!({
            "type": "awaitAwakeableOrTimeout", "awakeableKey": awakeable, "timeoutMillis": timeout,
        }));
    }
    let last = program.results.last().cloned().unwrap_or_default();
    {
        let mut ledger = t.ledger();
        ledger
            .programs
            .insert(object.clone(), program.results.clone());
        ledger.invoked("VirtualObjectCommandInterpreter/interpretCommands", 1);
        if fails {
            ledger
                .failures
                .insert(key.clone(), "await-timeout".to_owned());
        }
    }
    let input = json!({ "commands": program.commands });
    let request = t.ingress.object(INTERPRETER, &object, "interpretCommands");
    let Some(id) = t.submit(Some(&key), request.json(&input)).await? else {
        return Ok(());
    };
    for outside in program.outside {
        complete(t, &object, &id, outside).await?;
    }
    let ended = t.join(&id).await?;
    let well = if fails {
        matches!(&ended, Answer::Failed { status: 500, message } if message == "await-timeout")
    } else {
        decode(&ended).as_ref() == Some(&last)
    };
    if !well {
        t.problem(format!("{object} ended with {ended:?}: {input}"));
    }
    Ok(())
}

/// Completes something that a program waits for, or is going to.
async fn complete(t: &Driver, object: &str, id: &str, outside: Outside) -> Result {
    let handler = |name: &str| t.ingress.object(INTERPRETER, object, name);
    let (awakeable, complete) = match outside {
        Outside::Resolve { awakeable, value } => {
            let input = json!({ "awakeableKey": awakeable, "value": value });
            t.ledger()
                .invoked("VirtualObjectCommandInterpreter/resolveAwakeable", 1);
            (awakeable, handler("resolveAwakeable").json(&input))
        }
        Outside::Reject { awakeable, reason } => {
            let input = json!({ "awakeableKey": awakeable, "reason": reason });
            t.ledger()
                .invoked("VirtualObjectCommandInterpreter/rejectAwakeable", 1);
            (awakeable, handler("rejectAwakeable").json(&input))
        }
        Outside::Signal { name, value } => {
            let input = json!({ "invocationId": id, "signalName": name, "value": value });
            t.ledger().invoked("TestUtilsService/resolveSignal", 1);
            let signal = t.ingress.service("TestUtilsService", "resolveSignal");
            t.must::<()>(signal.json(&input)).await?;
            return Ok(());
        }
    };
    let has = handler("hasAwakeable").json(&awakeable);
    let mut pause = Duration::from_millis(5);
    while decode(&t.answer(&has).await?) != Some(true) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
        t.check_time(&format!("awakeable {awakeable} of {object}"))?;
    }
    t.must::<()>(complete).await?;
    Ok(())
}
