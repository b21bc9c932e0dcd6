//! What a handler takes and gives, as the endpoint manifest describes it.

/// What a handler takes, for the endpoint manifest.
///
/// The runtime refuses requests that do not fit before they reach the handler.
///
/// # Examples
///
/// ```
/// use durably::InputMetadata;
///
/// let order = InputMetadata::required("application/json")
///     .with_json_schema(serde_json::json!({ "type": "object" }));
/// assert!(order.required);
/// assert_eq!(InputMetadata::none().content_type, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputMetadata {
    /// Whether a body must be there.
    pub required: bool,
    /// The content type of the body (wildcards are allowed); `None`: no body is expected.
    pub content_type: Option<String>,
    /// A JSON schema of the body.
    pub json_schema: Option<serde_json::Value>,
}

impl InputMetadata {
    /// No body is expected.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A body of this content type must be there.
    pub fn required(content_type: impl Into<String>) -> Self {
        Self {
            required: true,
            content_type: Some(content_type.into()),
            json_schema: None,
        }
    }

    /// A body of this content type may be there.
    pub fn optional(content_type: impl Into<String>) -> Self {
        Self {
            required: false,
            content_type: Some(content_type.into()),
            json_schema: None,
        }
    }

    /// Describes the body with a JSON schema.
    #[must_use]
    pub fn with_json_schema(mut self, schema: serde_json::Value) -> Self {
        self.json_schema = Some(schema);
        self
    }
}

/// What a handler gives, for the endpoint manifest.
///
/// # Examples
///
/// ```
/// use durably::OutputMetadata;
///
/// let bytes = OutputMetadata::of("application/octet-stream").set_content_type_if_empty(true);
/// assert_eq!(bytes.content_type.as_deref(), Some("application/octet-stream"));
/// assert_eq!(OutputMetadata::none().content_type, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputMetadata {
    /// The content type of the body; `None`: the body is empty.
    pub content_type: Option<String>,
    /// Whether an empty body carries the content type too.
    pub set_content_type_if_empty: bool,
    /// A JSON schema of the body.
    pub json_schema: Option<serde_json::Value>,
}

impl OutputMetadata {
    /// The body is empty.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The body has this content type.
    pub fn of(content_type: impl Into<String>) -> Self {
        Self {
            content_type: Some(content_type.into()),
            ..Self::default()
        }
    }

    /// Whether an empty body carries the content type too (it does not unless told to).
    #[must_use]
    pub fn set_content_type_if_empty(mut self, set: bool) -> Self {
        self.set_content_type_if_empty = set;
        self
    }

    /// Describes the body with a JSON schema.
    #[must_use]
    pub fn with_json_schema(mut self, schema: serde_json::Value) -> Self {
        self.json_schema = Some(schema);
        self
    }
}
