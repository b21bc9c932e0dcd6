//! What is registered: services, handlers and their options, read from the endpoint manifest as a
//! runtime reads it.

use std::collections::BTreeMap;

use serde::Deserialize;

const SECOND: u64 = 1000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// All services of an endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog(BTreeMap<String, ServiceInfo>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum ServiceType {
    #[serde(rename = "SERVICE")]
    Service,
    #[serde(rename = "VIRTUAL_OBJECT")]
    Object,
    #[serde(rename = "WORKFLOW")]
    Workflow,
}

/// How an invocation of a handler stands to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum HandlerType {
    /// Of a service without keys.
    #[serde(skip)]
    Free,
    /// Alone for its key, and may write.
    #[serde(rename = "EXCLUSIVE")]
    Exclusive,
    #[serde(rename = "SHARED")]
    Shared,
    /// Once per key.
    #[serde(rename = "WORKFLOW")]
    Workflow,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceInfo {
    pub(crate) ty: ServiceType,
    pub(crate) handlers: BTreeMap<String, HandlerInfo>,
}

/// A handler with what its service and the server's defaults add. Times are milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct HandlerInfo {
    pub(crate) ty: HandlerType,
    pub(crate) private: bool,
    pub(crate) lazy_state: bool,
    /// No body is refused.
    pub(crate) input_required: bool,
    pub(crate) content_type: Option<String>,
    /// Its input has a JSON schema.
    pub(crate) input_schema: bool,
    /// Of what it returns, and whether an empty body has it too.
    pub(crate) output_type: Option<String>,
    pub(crate) output_type_if_empty: bool,
    pub(crate) inactivity_timeout: u64,
    pub(crate) abort_timeout: u64,
    pub(crate) idempotency_retention: u64,
    pub(crate) workflow_retention: u64,
    pub(crate) retry: Retry,
}

impl HandlerInfo {
    /// What inputs the handler takes: a content type, `image/*` for any image, or `*/*`.
    pub(crate) fn expected_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or("*/*")
    }

    /// Why the handler does not take an input of this content type, in the server's words.
    pub(crate) fn check_type(&self, given: &str) -> Result<(), String> {
        let expected = self.expected_type();
        let essence = given.split(';').next().unwrap_or_default().trim();
        let is_kind = |kind: &str| essence.split_once('/').is_some_and(|(of, _)| of == kind);
        if expected == "*/*"
            || essence == expected
            || expected.strip_suffix("/*").is_some_and(is_kind)
        {
            return Ok(());
        }
        Err(format!(
            "Content-type '{given}' does not match '{expected}'"
        ))
    }
}

/// The retry policy of invocations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retry {
    pub(crate) initial: u64,
    pub(crate) factor: f64,
    pub(crate) max: u64,
    pub(crate) attempts: u32,
    /// When they are used up: killed, not paused.
    pub(crate) kill: bool,
}

impl Retry {
    /// The pause after so many failures in a row; the first is 1.
    pub(crate) fn delay(&self, failures: u32) -> u64 {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = self.initial as f64 * self.factor.powi(exponent);
        // A cast saturates.
        (delay as u64).min(self.max)
    }
}

#[derive(Deserialize)]
struct Manifest {
    services: Vec<ServiceEntry>,
}

#[derive(Deserialize)]
struct ServiceEntry {
    name: String,
    ty: ServiceType,
    #[serde(flatten)]
    options: Options,
    handlers: Vec<HandlerEntry>,
}

#[derive(Deserialize)]
struct HandlerEntry {
    name: String,
    ty: Option<HandlerType>,
    #[serde(flatten)]
    options: Options,
    input: Option<InputEntry>,
    output: Option<OutputEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputEntry {
    #[serde(default)]
    required: bool,
    content_type: Option<String>,
    json_schema: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputEntry {
    content_type: Option<String>,
    #[serde(default)]
    set_content_type_if_empty: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    inactivity_timeout: Option<u64>,
    abort_timeout: Option<u64>,
    idempotency_retention: Option<u64>,
    workflow_completion_retention: Option<u64>,
    enable_lazy_state: Option<bool>,
    ingress_private: Option<bool>,
    retry_policy_initial_interval: Option<u64>,
    retry_policy_max_interval: Option<u64>,
    retry_policy_max_attempts: Option<u32>,
    retry_policy_exponentiation_factor: Option<f64>,
    retry_policy_on_max_attempts: Option<OnMaxAttempts>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum OnMaxAttempts {
    Pause,
    Kill,
}

impl Catalog {
    /// The catalog in a manifest. `always_suspend`: every inactivity timeout is zero.
    pub(crate) fn read(manifest: &[u8], always_suspend: bool) -> Result<Self, serde_json::Error> {
        let manifest: Manifest = serde_json::from_slice(manifest)?;
        let services = manifest.services.into_iter().map(|service| {
            let ServiceEntry {
                name,
                ty,
                options,
                handlers,
            } = service;
            let handlers = handlers
                .into_iter()
                .map(|handler| {
                    let mut info = handler.info(&options);
                    if always_suspend {
                        info.inactivity_timeout = 0;
                    }
                    (handler.name, info)
                })
                .collect();
            (name, ServiceInfo { ty, handlers })
        });
        Ok(Self(services.collect()))
    }

    pub(crate) fn service(&self, name: &str) -> Option<&ServiceInfo> {
        self.0.get(name)
    }

    /// The names of all services, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// The handler that is the run of a workflow.
    pub(crate) fn run_of(&self, workflow: &str) -> Option<&str> {
        let mut handlers = self.0.get(workflow)?.handlers.iter();
        let run = handlers.find(|(_, info)| info.ty == HandlerType::Workflow);
        run.map(|(name, _)| &**name)
    }

    /// All services with their names, sorted.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, &ServiceInfo)> {
        self.0.iter().map(|(name, info)| (&**name, info))
    }

    pub(crate) fn handler(&self, service: &str, handler: &str) -> Option<&HandlerInfo> {
        self.0.get(service)?.handlers.get(handler)
    }
}

impl Default for HandlerInfo {
    /// Of a handler that nobody serves any more: the server's defaults.
    fn default() -> Self {
        let nothing = HandlerEntry {
            name: String::new(),
            ty: None,
            options: Options::default(),
            input: None,
            output: None,
        };
        nothing.info(&Options::default())
    }
}

impl HandlerEntry {
    fn info(&self, service: &Options) -> HandlerInfo {
        macro_rules! option {
            ($name:ident) => {
                self.options.$name.or(service.$name)
            };
        }
        HandlerInfo {
            ty: self.ty.unwrap_or(HandlerType::Free),
            private: option!(ingress_private).unwrap_or(false),
            lazy_state: option!(enable_lazy_state).unwrap_or(false),
            input_required: self.input.as_ref().is_some_and(|input| input.required),
            content_type: self
                .input
                .as_ref()
                .and_then(|input| input.content_type.clone()),
            input_schema: (self.input.as_ref()).is_some_and(|input| input.json_schema.is_some()),
            output_type: match &self.output {
                Some(output) => output.content_type.clone(),
                None => Some("application/json".to_owned()),
            },
            output_type_if_empty: (self.output.as_ref())
                .is_some_and(|output| output.set_content_type_if_empty),
            inactivity_timeout: option!(inactivity_timeout).unwrap_or(60 * SECOND),
            abort_timeout: option!(abort_timeout).unwrap_or(600 * SECOND),
            idempotency_retention: option!(idempotency_retention).unwrap_or(DAY),
            workflow_retention: option!(workflow_completion_retention).unwrap_or(DAY),
            retry: Retry {
                initial: option!(retry_policy_initial_interval).unwrap_or(500),
                factor: option!(retry_policy_exponentiation_factor).unwrap_or(2.0),
                max: option!(retry_policy_max_interval).unwrap_or(60 * SECOND),
                // None counts as one.
                attempts: option!(retry_policy_max_attempts).unwrap_or(70).max(1),
                kill: option!(retry_policy_on_max_attempts) == Some(OnMaxAttempts::Kill),
            },
        }
    }
}
