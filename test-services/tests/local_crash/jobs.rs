//! The jobs that the notes of the diary are about, besides the load that is shared with the failure tests.

use std::time::Duration;

use durably::admin::AdminClient;
use serde_json::json;

use crate::{
    ledger::Answer,
    load::{Driver, Result, decode},
    random::Random,
    services::{REFUSED, THREE},
    traces::Traces,
};

/// How many tries a request has that must not be made again: one.
const PATIENCE: Duration = Duration::from_secs(5);

/// By how many milliseconds a sleep may seem too short: each reading of the clock is rounded.
const ROUNDING: i64 = 3;

/// Between which amounts are moved.
const ACCOUNTS: u64 = 6;

/// What these jobs share.
pub(crate) struct Jobs<'a> {
    pub(crate) t: &'a Driver,
    pub(crate) traces: &'a Traces,
    pub(crate) admin: &'a AdminClient,
}

impl Jobs<'_> {
    /// A job, drawn from the mixture.
    pub(crate) async fn any(&self, random: &mut Random) -> Result {
        match random.below(100) {
            0..25 => self.three().await,
            25..35 => self.once().await,
            35..42 => self.count_once().await,
            42..55 => self.spread(random).await,
            55..67 => self.nap(random).await,
            67..77 => self.wait(random).await,
            77..90 => self.transfer(random).await,
            90..95 => self.kill(random).await,
            _ => self.cancel(random).await,
        }
    }

    async fn three(&self) -> Result {
        let token = self.t.name("three-");
        self.t.ledger().invoked("Steps/three", 1);
        let request = self.t.ingress.service("Steps", "three").json(&token);
        let answer = self.t.must::<String>(request).await?;
        self.traces.acknowledged(&token, &THREE);
        if answer.as_ref() != Some(&token) {
            self.t.problem(format!("{token} gave {answer:?}"));
        }
        Ok(())
    }

    /// A request without a key, made once: answered, it was carried out once; else perhaps.
    async fn once(&self) -> Result {
        let token = self.t.name("once-");
        let request = self.t.ingress.service("Steps", "once").json(&token);
        match tokio::time::timeout(PATIENCE, request.call_raw()).await {
            Ok(Ok(_)) => self.traces.acknowledged(&token, &THREE),
            _ => self.traces.perhaps(),
        }
        Ok(())
    }

    /// The same with a send: accepted, it counts once.
    async fn count_once(&self) -> Result {
        let token = self.t.name("counted-");
        let request = self.t.ingress.object("Tally", &token, "add").json(&1);
        match tokio::time::timeout(PATIENCE, request.send()).await {
            Ok(Ok(_)) => self.traces.tally(&token, 1..=1),
            _ => {
                self.traces.perhaps();
                self.traces.tally(&token, 0..=1);
            }
        }
        Ok(())
    }

    async fn spread(&self, random: &mut Random) -> Result {
        let token = self.t.name("spread-");
        self.t.ledger().invoked("Steps/spread", 1);
        self.traces.tally(&token, 1111..=1111);
        let nap = json!({ "token": token, "millis": random.between(1, 1_500) });
        let request = self.t.ingress.service("Steps", "spread").json(&nap);
        self.t.must::<()>(request).await?;
        self.traces.acknowledged(&token, &["between"]);
        Ok(())
    }

    /// A timer that may fall due while nobody is there.
    async fn nap(&self, random: &mut Random) -> Result {
        let token = self.t.name("nap-");
        self.t.ledger().invoked("Steps/nap", 1);
        let nap = json!({ "token": token, "millis": random.between(0, 3_000) });
        let request = self.t.ingress.service("Steps", "nap").json(&nap);
        let key = self.t.name("key-");
        let Some(id) = self.t.submit(Some(&key), request).await? else {
            return Ok(());
        };
        let ended = self.t.join(&id).await?;
        self.traces.acknowledged(&token, &["begins", "woke"]);
        match decode::<i64>(&ended) {
            Some(late) if (-ROUNDING..60_000).contains(&late) => self.traces.late(late),
            _ => self.t.problem(format!("{token} gave {ended:?}")),
        }
        Ok(())
    }

    /// An awakeable that is completed by its id, from outside.
    async fn wait(&self, random: &mut Random) -> Result {
        let token = self.t.name("letter-");
        {
            let mut ledger = self.t.ledger();
            ledger.invoked("Steps/wait", 1);
            ledger.invoked("Mailbox/put", 1);
        }
        let request = self.t.ingress.service("Steps", "wait").json(&token);
        let key = self.t.name("key-");
        let Some(id) = self.t.submit(Some(&key), request).await? else {
            return Ok(());
        };
        let look = self.t.ingress.object("Mailbox", &token, "get");
        let mut pause = Duration::from_millis(5);
        let address = loop {
            if let Some(Some(address)) = decode::<Option<String>>(&self.t.answer(&look).await?) {
                break address;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            self.t.check_time(&format!("{token} waits"))?;
        };
        tokio::time::sleep(random.millis(0, 100)).await;
        let resolve = || self.t.ingress.resolve_awakeable(&address, "a letter");
        let resolved = self
            .t
            .insist(&format!("resolve {address}"), resolve)
            .await?;
        let ended = self.t.join(&id).await?;
        self.traces.acknowledged(&token, &["read"]);
        if resolved.is_err() || decode::<String>(&ended).as_deref() != Some("a letter") {
            self.t
                .problem(format!("{token}: {resolved:?}, ended with {ended:?}"));
        }
        Ok(())
    }

    async fn transfer(&self, random: &mut Random) -> Result {
        let token = self.t.name("transfer-");
        let account = |number: u64| format!("account-{number}");
        let (from, step) = (random.below(ACCOUNTS), random.between(1, ACCOUNTS - 1));
        let (from, to) = (account(from), account((from + step) % ACCOUNTS));
        let amount = i64::try_from(random.between(1, 100)).unwrap();
        let refused = random.chance(300);
        let key = self.t.name("key-");
        {
            let mut ledger = self.t.ledger();
            ledger.invoked("Steps/transfer", 1);
            ledger.invoked("Account/add", if refused { 4 } else { 2 });
            if refused {
                ledger.failures.insert(key.clone(), REFUSED.to_owned());
            } else {
                self.traces.moved(&from, -amount);
                self.traces.moved(&to, amount);
            }
        }
        let input = json!({
            "token": token, "from": from, "to": to, "amount": amount, "refused": refused,
        });
        let request = self.t.ingress.service("Steps", "transfer").json(&input);
        let answer = self.t.ask_as(&key, request).await?;
        let steps: &[_] = if refused {
            &["book", "undone"]
        } else {
            &["book"]
        };
        self.traces.acknowledged(&token, steps);
        let well = match &answer {
            Answer::Output { .. } => !refused,
            Answer::Failed { message, .. } => refused && message == REFUSED,
        };
        if !well {
            self.t.problem(format!("{input} gave {answer:?}"));
        }
        Ok(())
    }

    /// Something without end, under a key; its id.
    async fn endless(&self, token: &str) -> Result<Option<String>> {
        self.t.ledger().invoked("Steps/endless", 1);
        let request = self.t.ingress.service("Steps", "endless").json(token);
        let key = self.t.name("key-");
        self.t.submit(Some(&key), request).await
    }

    /// Once an operator has been told that something is killed, it does nothing any more.
    async fn kill(&self, random: &mut Random) -> Result {
        let token = self.t.name("killed-");
        let Some(id) = self.endless(&token).await? else {
            return Ok(());
        };
        tokio::time::sleep(random.millis(0, 400)).await;
        loop {
            match tokio::time::timeout(PATIENCE, self.admin.kill(&id)).await {
                Ok(Ok(())) => break,
                // Of one try the answer was lost.
                Ok(Err(error)) if error.to_string().contains("already completed") => break,
                _ => {}
            }
            self.t.check_time(&format!("kill {token}"))?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.ends(&token, &id, "killed").await
    }

    async fn cancel(&self, random: &mut Random) -> Result {
        let token = self.t.name("endless-");
        let Some(id) = self.endless(&token).await? else {
            return Ok(());
        };
        tokio::time::sleep(random.millis(0, 400)).await;
        self.t
            .ledger()
            .invoked("TestUtilsService/cancelInvocation", 1);
        let cancel = self
            .t
            .ingress
            .service("TestUtilsService", "cancelInvocation");
        self.t.must::<()>(cancel.json(&id)).await?;
        self.ends(&token, &id, "cancel").await
    }

    async fn ends(&self, token: &str, id: &str, how: &str) -> Result {
        let ended = self.t.join(id).await?;
        self.traces.stopped(token);
        match &ended {
            Answer::Failed {
                status: 409,
                message,
            } if message.contains(how) => {}
            _ => self.t.problem(format!("{token} ended with {ended:?}")),
        }
        Ok(())
    }
}
