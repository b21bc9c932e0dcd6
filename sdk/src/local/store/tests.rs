//! What the store promises, against a model, against kill -9, and against damage.

mod model;
