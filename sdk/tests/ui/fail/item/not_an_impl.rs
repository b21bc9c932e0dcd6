//! The attributes go on impl blocks and traits.

#[durably::service]
struct Greeter;

#[durably::workflow]
fn checkout() {}

fn main() {}
