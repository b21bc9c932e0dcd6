//! What the attribute macros accept and what they say about mistakes.
//!
//! `pass` holds programs that compile and run; `fail` holds one topic a folder, each mistake with
//! the error it must give. Bless changed messages with `TRYBUILD=overwrite cargo test --test ui`.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*/*.rs");
}
