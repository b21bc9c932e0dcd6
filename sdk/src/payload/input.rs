//! What arrives with an invocation: headers and a body.

use bytes::Bytes;

/// An invocation's input as it arrived: the caller's headers and the body.
///
/// # Examples
///
/// ```
/// use durably::{Headers, Input};
///
/// let headers = Headers::from_iter([("x-tenant", "acme")]);
/// let input = Input::new(headers, r#"{"sku":"A-17"}"#);
/// assert_eq!(input.headers().get("X-Tenant"), Some("acme"));
/// assert_eq!(input.body().len(), 14);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    headers: Headers,
    body: Bytes,
}

impl Input {
    /// Puts an input together.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Headers, Input};
    ///
    /// assert!(Input::new(Headers::default(), "").body().is_empty());
    /// ```
    pub fn new(headers: Headers, body: impl Into<Bytes>) -> Self {
        Self {
            headers,
            body: body.into(),
        }
    }

    /// The headers, in the order in which they were sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Headers, Input};
    ///
    /// assert_eq!(Input::new(Headers::default(), "7").headers().len(), 0);
    /// ```
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Headers, Input};
    ///
    /// assert_eq!(Input::new(Headers::default(), "7").body(), "7");
    /// ```
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Takes the input apart.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Headers, Input};
    ///
    /// let (headers, body) = Input::new(Headers::default(), "7").into_parts();
    /// assert!(headers.is_empty());
    /// assert_eq!(body, "7");
    /// ```
    #[must_use]
    pub fn into_parts(self) -> (Headers, Bytes) {
        (self.headers, self.body)
    }
}

/// Headers as they were sent: in order, duplicates included, names in their own case.
///
/// # Examples
///
/// ```
/// use durably::Headers;
///
/// let headers = Headers::from_iter([("x-tag", "a"), ("X-Tag", "b"), ("x-tenant", "acme")]);
/// assert_eq!(headers.get("X-TAG"), Some("a"));
/// assert_eq!(headers.get_all("x-tag").collect::<Vec<_>>(), ["a", "b"]);
/// assert_eq!(headers.iter().last(), Some(("x-tenant", "acme")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(String, String)>,
}

impl Headers {
    /// All headers as name and value, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Headers;
    ///
    /// let headers = Headers::from_iter([("a", "1"), ("b", "2")]);
    /// assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first header of this name, whose ASCII case does not matter.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Headers;
    ///
    /// let headers = Headers::from_iter([("Accept", "text/plain")]);
    /// assert_eq!(headers.get("accept"), Some("text/plain"));
    /// assert_eq!(headers.get("content-type"), None);
    /// ```
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers of this name, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Headers;
    ///
    /// let headers = Headers::from_iter([("via", "a"), ("via", "b")]);
    /// assert_eq!(headers.get_all("via").count(), 2);
    /// ```
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// How many headers there are, duplicates counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Headers;
    ///
    /// assert_eq!(Headers::from_iter([("via", "a"), ("via", "b")]).len(), 2);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(durably::Headers::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let entries = entries
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self {
            entries: entries.collect(),
        }
    }
}

impl<N: Into<String>, V: Into<String>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        self.entries.extend(
            entries
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
    }
}

impl IntoIterator for Headers {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
