//! The state of objects and workflows, to be printed.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::TestRuntime;
use crate::engine::{
    keyed::KeyedId,
    words::{describe_failure, show},
};

/// JSON with more characters than this stands on several lines.
const LINE: usize = 80;

impl TestRuntime {
    /// All that an object or workflow keeps, to be printed: a line for each name of its state, sorted, then
    /// one for each promise. Long JSON is laid out over several lines; of bytes that are not text there is the
    /// length.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// runtime.set_state("Counter", "ada", "sum", &7);
    /// runtime.set_state("Counter", "ada", "by", "bob");
    /// assert_eq!(
    ///     runtime.describe_state("Counter", "ada"),
    ///     "Counter/ada\n  by = \"bob\"\n  sum = 7"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn describe_state(&mut self, service: &str, key: &str) -> String {
        self.describe_state_of(&KeyedId::new(service, key, None))
    }

    pub(super) fn describe_state_of(&mut self, of: &KeyedId) -> String {
        let mut text = of.to_string();
        let empty = text.len();
        let engine = &mut self.driver.engine;
        if let Some(place) = engine.find_place(of) {
            let keyed = engine.keyed(place);
            for (name, value) in &keyed.state {
                let name = String::from_utf8_lossy(name);
                let _ = write!(text, "\n  {name} = {}", laid_out(value));
            }
            for (name, promise) in &keyed.promises {
                let result = match &promise.result {
                    Some(Ok(value)) => laid_out(value),
                    Some(Err(failure)) => describe_failure(failure),
                    None => "not resolved".to_owned(),
                };
                let _ = write!(text, "\n  promise `{name}`: {result}");
            }
        }
        if text.len() == empty {
            text.push_str("\n  nothing");
        }
        text
    }
}

fn laid_out(value: &Bytes) -> String {
    match std::str::from_utf8(value) {
        Ok(json) if serde_json::from_str::<IgnoredAny>(json).is_ok() => {
            if json.chars().nth(LINE).is_none() {
                json.to_owned()
            } else {
                indented(json)
            }
        }
        Ok("") => "nothing".to_owned(),
        _ => show(value),
    }
}

/// JSON over several lines, each string and number as it was written.
fn indented(json: &str) -> String {
    let mut text = String::with_capacity(2 * json.len());
    let (mut depth, mut in_string, mut escaped) = (1_usize, false, false);
    let next_line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            text.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                text.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                match chars.next_if(|next| matches!(*next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        next_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                next_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                next_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_string = c == '"';
                text.push(c);
            }
        }
    }
    text
}
