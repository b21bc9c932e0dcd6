//! The page, as its user sees it.

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    Result,
    browser::Browser,
    patience::{eventually, in_time},
    world::{World, without_length},
};

const NASTY: &str = "<script>window.harm = 1</script><img src=x onerror='window.harm = 2'>";

/// Runs a test with a browser. One that starts takes all that a small machine has, so they take turns; the wait for
/// that is not counted.
async fn in_browser(test: impl Future<Output = Result>) -> Result {
    static TURNS: Semaphore = Semaphore::const_new(2);
    let _turn = TURNS.acquire().await?;
    in_time(test).await
}

/// The lines of the list: status, target, how it stands.
async fn lines(browser: &Browser) -> Result<Vec<[String; 3]>> {
    let lines = browser
        .run(
            "return Array.from(document.querySelectorAll('#list tbody tr'), line =>
                [0, 1, 5].map(at => line.cells[at].innerText))",
        )
        .await?;
    Ok(serde_json::from_value(lines)?)
}

async fn targets(browser: &Browser) -> Result<Vec<String>> {
    let lines = lines(browser).await?;
    Ok(lines.into_iter().map(|[_, target, _]| target).collect())
}

/// The lines of the timeline.
async fn timeline(browser: &Browser) -> Result<Vec<String>> {
    let lines = browser
        .run("return Array.from(document.querySelectorAll('#timeline .what'), one => one.innerText).slice(1)")
        .await?;
    Ok(serde_json::from_value(lines)?)
}

async fn text(browser: &Browser, css: &str) -> Result<String> {
    let text = browser
        .run(&format!("return document.querySelector('{css}').innerText"))
        .await?;
    Ok(serde_json::from_value(text)?)
}

/// Waits until an expression holds.
async fn holds(browser: &Browser, expression: &str) -> Result {
    eventually(expression, async || {
        let held = browser
            .run(&format!("return Boolean({expression})"))
            .await?;
        Ok((held == true).then_some(()))
    })
    .await
}

fn is_said(lines: &[[String; 3]], status: &str, target: &str, says: &str) {
    let said =
        |line: &[String; 3]| line[0] == status && line[1] == target && line[2].contains(says);
    assert!(
        lines.iter().any(said),
        "{status} {target}: {says}\n{lines:#?}"
    );
}

#[tokio::test]
async fn invocations_are_listed_and_filtered() -> Result {
    in_browser(listed()).await
}

async fn listed() -> Result {
    let world = World::start().await?;
    let charged = world.send("Clerk/charge", 50).await?;
    world.reaches(&charged, "completed").await?;
    for (target, input, status) in [
        ("Clerk/refuse", Value::Null, "completed"),
        ("Clerk/fail", Value::Null, "backing-off"),
        ("Clerk/work", Value::Null, "running"),
        ("Desk/ada/wait", json!("hello"), "suspended"),
        ("Desk/ada/wait", json!("behind"), "pending"),
    ] {
        let id = world.send(target, input).await?;
        world.reaches(&id, status).await?;
    }

    let browser = Browser::start(false).await?;
    browser.open(&world.runtime.admin_url()).await?;
    eventually("all are listed", async || {
        Ok((lines(&browser).await?.len() == 7).then_some(()))
    })
    .await?;
    browser.picture("list.png").await?;
    let all = lines(&browser).await?;
    is_said(&all, "running", "Clerk/work", "running");
    is_said(
        &all,
        "suspended",
        "Desk/ada/wait",
        "suspended on signal `go`",
    );
    is_said(
        &all,
        "backing-off",
        "Clerk/fail",
        "[500] the card reader is out of order",
    );
    is_said(&all, "completed", "Clerk/refuse", "[402] no money");
    is_said(&all, "completed", "Clerk/charge", "ended with 55");
    let newest_first = [
        "Desk/ada/wait",
        "Desk/ada/wait",
        "Clerk/work",
        "Clerk/fail",
        "Clerk/refuse",
        "Clerk/add",
        "Clerk/charge",
    ];
    assert_eq!(targets(&browser).await?, newest_first);

    // By the keyboard: the choice is made by its first letters.
    browser.write("#status", "susp").await?;
    eventually("only one is suspended", async || {
        Ok((targets(&browser).await? == ["Desk/ada/wait"]).then_some(()))
    })
    .await?;
    browser.click("#status option:first-child").await?;
    // The services come by themselves, and may be later than the list.
    holds(
        &browser,
        "document.querySelector('#service option[value=Desk]')",
    )
    .await?;
    browser.click("#service option[value=Desk]").await?;
    eventually("two are at the desk", async || {
        Ok((targets(&browser).await? == ["Desk/ada/wait"; 2]).then_some(()))
    })
    .await?;
    browser.write("#key", "nobody").await?;
    holds(&browser, "!document.querySelector('#none').hidden").await?;
    assert_eq!(targets(&browser).await?, [""; 0]);

    // What happens is seen without a click.
    browser.open("about:blank").await?;
    browser.open(&world.runtime.admin_url()).await?;
    eventually("all are listed", async || {
        Ok((lines(&browser).await?.len() == 7).then_some(()))
    })
    .await?;
    world.send("Clerk/refuse", Value::Null).await?;
    eventually("the new one is first", async || {
        Ok(
            (targets(&browser).await?.first().map(String::as_str) == Some("Clerk/refuse"))
                .then_some(()),
        )
    })
    .await?;
    assert_eq!(browser.console().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn pages_are_turned() -> Result {
    in_browser(turned()).await
}

async fn turned() -> Result {
    let world = World::start().await?;
    for n in 0..130 {
        world.send("Clerk/add", json!([n, 1])).await?;
    }
    let browser = Browser::start(false).await?;
    browser.open(&world.runtime.admin_url()).await?;
    let count = async |n: usize| {
        eventually(&format!("{n} lines"), async || {
            Ok((lines(&browser).await?.len() == n).then_some(()))
        })
        .await
    };
    count(100).await?;
    browser.click("#older").await?;
    count(30).await?;
    holds(&browser, "document.querySelector('#older').disabled").await?;
    browser.click("#newest").await?;
    count(100).await?;
    assert_eq!(browser.console().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_journal_is_a_timeline() -> Result {
    in_browser(drawn()).await
}

async fn drawn() -> Result {
    let world = World::start().await?;
    let id = world.send("Clerk/charge", 50).await?;
    world.reaches(&id, "completed").await?;
    let browser = Browser::start(true).await?;
    browser.open(&world.runtime.admin_url()).await?;
    eventually("it is listed", async || {
        Ok((!lines(&browser).await?.is_empty()).then_some(()))
    })
    .await?;
    browser.click(&format!("#list a[href='#{id}']")).await?;
    holds(
        &browser,
        "!document.querySelector('#one').hidden && document.querySelector('#all').hidden",
    )
    .await?;
    browser.picture("one-completed.png").await?;
    let told = timeline(&browser).await?;
    let first_words: Vec<_> = told
        .iter()
        .map(|line| without_length(line.split(" (").next().unwrap_or_default()))
        .collect();
    assert_eq!(
        first_words,
        [
            "Attempt 1",
            "run `fee`\nrun `fee`: 5",
            "sleep …\nsleep",
            "call Clerk/add([50,5])open\ncall Clerk/add: 55",
            "output 55",
            "ended with 55",
        ]
    );
    // The bar of the sleep is much of the time, also where all else is slow, and follows the run's.
    let bars = browser
        .run(
            "return Array.from(document.querySelectorAll('#timeline .lane'), lane => {
                const bar = lane.querySelector('.span:last-child').getBoundingClientRect();
                const whole = lane.getBoundingClientRect();
                return [(bar.left - whole.left) / whole.width, bar.width / whole.width];
            })",
        )
        .await?;
    let bars: Vec<[f64; 2]> = serde_json::from_value(bars)?;
    assert!(
        bars[0][0] < 0.3 && bars[0][1] > 0.7,
        "the attempt is nearly all: {bars:?}"
    );
    assert!(
        bars[2][1] > 0.05 && bars[2][0] >= bars[1][0],
        "the sleep: {bars:?}"
    );
    assert!(
        bars[3][0] >= bars[2][0] + bars[2][1] - 0.01,
        "the call comes after it: {bars:?}"
    );
    assert!(
        bars.iter()
            .all(|[left, width]| *left >= 0.0 && left + width < 1.02),
        "{bars:?}"
    );
    assert_eq!(text(&browser, "#stands").await?, "completed");
    assert_eq!(
        (
            text(&browser, "#input").await?,
            text(&browser, "#output").await?
        ),
        ("50".into(), "55".into())
    );

    browser.click("#even").await?;
    holds(
        &browser,
        "document.querySelector('#even').getAttribute('aria-pressed') === 'true'",
    )
    .await?;
    assert_eq!(timeline(&browser).await?.len(), told.len());
    // From a call to what it has called.
    browser.click("#timeline a:not([hidden])").await?;
    holds(
        &browser,
        "document.querySelector('#target').innerText === 'Clerk/add'",
    )
    .await?;
    assert_eq!(text(&browser, "#input").await?, "[50,5]");

    // A failed attempt, and what follows it.
    let id = world.send("Clerk/fail", Value::Null).await?;
    world.reaches(&id, "backing-off").await?;
    browser
        .open(&format!("{}/#{id}", world.runtime.admin_url()))
        .await?;
    eventually("the failure is told", async || {
        let told = timeline(&browser).await?;
        let failed = told
            .get(1)
            .is_some_and(|line| line.contains("the card reader is out of order"));
        Ok((failed && told[0] == "Attempt 1").then_some(()))
    })
    .await?;
    browser.picture("one-failing.png").await?;
    holds(
        &browser,
        "document.querySelector('#timeline tr.failed .span.wait')",
    )
    .await?;
    assert_eq!(text(&browser, "#stands").await?, "backing-off");
    assert_eq!(browser.console().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn buttons_do_what_they_say() -> Result {
    in_browser(pressed()).await
}

async fn pressed() -> Result {
    let world = World::start().await?;
    let id = world.send("Desk/ada/wait", "hello").await?;
    world.reaches(&id, "suspended").await?;
    let browser = Browser::start(false).await?;
    browser
        .open(&format!("{}/#{id}", world.runtime.admin_url()))
        .await?;
    let stands = async |status: &str| {
        holds(
            &browser,
            &format!("document.querySelector('#stands').innerText === '{status}'"),
        )
        .await
    };
    stands("suspended").await?;
    browser.picture("one-suspended.png").await?;
    let enabled = async || {
        browser.run("return Array.from(document.querySelectorAll('#acts button:enabled'), one => one.id)").await
    };
    assert_eq!(enabled().await?, json!(["cancel", "resume", "kill"]));
    browser.click("#cancel").await?;
    stands("completed").await?;
    // Another connection may have told that it has ended before the answer has come.
    holds(
        &browser,
        "document.querySelector('#said').innerText === 'cancel: accepted'",
    )
    .await?;
    assert_eq!(
        world.reaches(&id, "completed").await?["completion_failure"],
        "[409] cancelled"
    );
    let told = timeline(&browser).await?;
    assert!(told.iter().any(|line| line == "cancellation"), "{told:?}");
    assert_eq!(enabled().await?, json!(["purge"]));
    browser.click("#purge").await?;
    browser.accept_question().await?;
    holds(
        &browser,
        "document.querySelector('#one').hidden && !document.querySelector('#none').hidden",
    )
    .await?;

    let id = world.send("Clerk/linger", Value::Null).await?;
    browser
        .open(&format!("{}/#{id}", world.runtime.admin_url()))
        .await?;
    stands("running").await?;
    browser.click("#pause").await?;
    stands("paused").await?;
    browser.click("#resume").await?;
    stands("running").await?;
    eventually("the second attempt", async || {
        Ok(timeline(&browser)
            .await?
            .contains(&"Attempt 2".to_owned())
            .then_some(()))
    })
    .await?;
    browser.picture("one-running.png").await?;
    browser.click("#kill").await?;
    browser.accept_question().await?;
    stands("completed").await?;
    assert_eq!(
        world.reaches(&id, "completed").await?["completion_failure"],
        "[409] killed"
    );

    // What is refused is said.
    browser
        .run("fetch('/invocations/' + location.hash.slice(1) + '/purge', {method: 'PATCH'})")
        .await?;
    holds(
        &browser,
        "document.querySelector('#said').innerText.includes('does not exist')",
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn buttons_mean_what_is_seen() -> Result {
    in_browser(meant()).await
}

async fn meant() -> Result {
    let world = World::start().await?;
    let seen = world.send("Clerk/work", Value::Null).await?;
    let other = world.send("Clerk/work", Value::Null).await?;
    world.reaches(&other, "running").await?;
    let browser = Browser::start(false).await?;
    browser
        .open(&format!("{}/#{seen}", world.runtime.admin_url()))
        .await?;
    holds(
        &browser,
        "document.querySelector('#stands').innerText === 'running'",
    )
    .await?;
    // The server does not answer any more: so the first one is still to be seen.
    browser
        .run(
            "window.asked = [];
             window.fetch = (path, options) => {
                 window.asked.push(`${options.method} ${path}`);
                 return new Promise(() => {});
             }",
        )
        .await?;
    browser.run(&format!("location.hash = '#{other}'")).await?;
    holds(
        &browser,
        &format!("window.asked.some(one => one.startsWith('GET /invocations/{other}'))"),
    )
    .await?;
    browser.click("#cancel").await?;
    assert_eq!(
        browser
            .run("return window.asked.filter(one => one.startsWith('PATCH'))")
            .await?,
        json!([])
    );
    Ok(())
}

#[tokio::test]
async fn text_stays_text() -> Result {
    in_browser(escaped()).await
}

async fn escaped() -> Result {
    let world = World::start().await?;
    let key = "%3Cscript%3Ewindow.harm%20=%203%3C%2Fscript%3E";
    let id = world.send(&format!("Desk/{key}/wait"), NASTY).await?;
    world.reaches(&id, "suspended").await?;
    let browser = Browser::start(false).await?;
    browser.open(&world.runtime.admin_url()).await?;
    eventually("it is listed", async || {
        Ok((!lines(&browser).await?.is_empty()).then_some(()))
    })
    .await?;
    assert_eq!(
        targets(&browser).await?,
        ["Desk/<script>window.harm = 3</script>/wait"]
    );
    browser.click("#list a").await?;
    holds(
        &browser,
        "document.querySelector('#timeline tbody').rows.length > 2",
    )
    .await?;
    assert!(text(&browser, "#input").await?.contains(NASTY));
    assert!(text(&browser, "#target").await?.contains("<script>"));
    let told = timeline(&browser).await?;
    assert!(
        told.iter()
            .any(|line| line.contains("<script>window.harm = 1</script>")),
        "{told:?}"
    );
    assert_eq!(
        browser.run("return window.harm ?? null").await?,
        Value::Null
    );
    assert_eq!(
        browser
            .run("return document.querySelectorAll('script, img').length")
            .await?,
        1
    );
    assert_eq!(browser.console().await?, [""; 0]);
    Ok(())
}
