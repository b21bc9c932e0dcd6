//! The endpoint manifest: the JSON document that tells the runtime what an endpoint serves.
//!
//! Definitions go in, the bytes of one manifest version come out. Which version a request gets is
//! negotiated by the endpoint; this module only knows what each version can say, which it takes
//! from the option table. A document never has a key that its version lacks: such a manifest is
//! refused with the name of the option and the version it needs.

use std::fmt;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::options::{Level, MissingIn, Options, TABLE};
use super::{HandlerDefinition, InputMetadata, OutputMetadata, ServiceDefinition};

/// A version of the endpoint manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ManifestVersion {
    V2,
    V3,
    V4,
}

impl ManifestVersion {
    /// Every version, lowest first.
    pub(crate) const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V4];

    /// The media type, exactly as it must stand in `content-type`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/vnd.restate.endpointmanifest.v2+json",
            Self::V3 => "application/vnd.restate.endpointmanifest.v3+json",
            Self::V4 => "application/vnd.restate.endpointmanifest.v4+json",
        }
    }
}

impl fmt::Display for ManifestVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::V4 => "v4",
        })
    }
}

/// How the runtime is to talk to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolMode {
    /// Both sides write at once (HTTP/2).
    BidiStream,
    /// The whole request first, then the whole response (HTTP/1.1).
    RequestResponse,
    /// The same in the events of AWS Lambda, where bodies may be compressed.
    #[cfg(feature = "lambda")]
    Lambda,
}

impl ProtocolMode {
    const fn name(self) -> &'static str {
        match self {
            Self::BidiStream => "BIDI_STREAM",
            Self::RequestResponse => "REQUEST_RESPONSE",
            #[cfg(feature = "lambda")]
            Self::Lambda => "REQUEST_RESPONSE",
        }
    }

    /// How the bodies of Lambda's events may be compressed. Manifests before v4 cannot say it; it is
    /// an offer, so they leave it out.
    const fn lambda_compression(self, version: ManifestVersion) -> Option<&'static str> {
        match (self, version) {
            #[cfg(feature = "lambda")]
            (Self::Lambda, ManifestVersion::V4) => Some("zstd"),
            _ => None,
        }
    }
}

/// Service protocol versions that the endpoint takes, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProtocolRange {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// Writes the manifest of `services` in one version, or says why this version cannot hold it.
///
/// The options are checked before a byte is written, so the only message is the one about the
/// first option that is missing.
pub(crate) fn render(
    services: &[ServiceDefinition],
    version: ManifestVersion,
    mode: ProtocolMode,
    protocol: ProtocolRange,
) -> Result<Vec<u8>, String> {
    let manifest = Manifest {
        services,
        version,
        mode,
        protocol,
    };
    serde_json::to_vec(&manifest).map_err(|error| error.to_string())
}

struct Manifest<'a> {
    services: &'a [ServiceDefinition],
    version: ManifestVersion,
    mode: ProtocolMode,
    protocol: ProtocolRange,
}

impl Serialize for Manifest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("protocolMode", self.mode.name())?;
        map.serialize_entry("minProtocolVersion", &self.protocol.min)?;
        map.serialize_entry("maxProtocolVersion", &self.protocol.max)?;
        if let Some(compression) = self.mode.lambda_compression(self.version) {
            map.serialize_entry("lambdaCompression", compression)?;
        }
        let services: Vec<_> = self
            .services
            .iter()
            .map(|service| ServiceEntry {
                service,
                version: self.version,
            })
            .collect();
        map.serialize_entry("services", &services)?;
        map.end()
    }
}

struct ServiceEntry<'a> {
    service: &'a ServiceDefinition,
    version: ManifestVersion,
}

impl Serialize for ServiceEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.service.name())?;
        map.serialize_entry("ty", self.service.kind().manifest_name())?;
        let options = OptionEntries {
            options: &self.service.options,
            level: Level::Both,
            version: self.version,
        };
        options.write(&mut map, |missing| self.describe(missing))?;
        map.serialize_entry("handlers", &HandlerEntries(self))?;
        map.end()
    }
}

impl ServiceEntry<'_> {
    fn describe(&self, missing: MissingIn) -> String {
        describe(
            &format!("service `{}`", self.service.name()),
            missing,
            self.version,
        )
    }
}

struct HandlerEntries<'a>(&'a ServiceEntry<'a>);

impl Serialize for HandlerEntries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ServiceEntry { service, version } = *self.0;
        let mut list = serializer.serialize_seq(Some(service.handlers.len()))?;
        for handler in &service.handlers {
            list.serialize_element(&HandlerEntry {
                handler,
                service,
                version,
            })?;
        }
        list.end()
    }
}

struct HandlerEntry<'a> {
    handler: &'a HandlerDefinition,
    service: &'a ServiceDefinition,
    version: ManifestVersion,
}

impl Serialize for HandlerEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.handler.name())?;
        if let Some(ty) = self.handler.kind().manifest_name() {
            map.serialize_entry("ty", ty)?;
        }
        let options = OptionEntries {
            options: &self.handler.options,
            level: Level::Handler,
            version: self.version,
        };
        options.write(&mut map, |missing| {
            let owner = format!("handler `{}/{}`", self.service.name(), self.handler.name());
            describe(&owner, missing, self.version)
        })?;
        if let Some(input) = &self.handler.input {
            map.serialize_entry("input", &InputEntry(input))?;
        }
        if let Some(output) = &self.handler.output {
            map.serialize_entry("output", &OutputEntry(output))?;
        }
        map.end()
    }
}

/// The options of one service or handler.
struct OptionEntries<'a> {
    options: &'a Options,
    level: Level,
    version: ManifestVersion,
}

impl OptionEntries<'_> {
    fn write<M: SerializeMap>(
        &self,
        map: &mut M,
        describe: impl Fn(MissingIn) -> String,
    ) -> Result<(), M::Error> {
        for row in TABLE {
            if row.level == Level::Handler && self.level != Level::Handler {
                continue;
            }
            match row.value(self.options, self.version) {
                Ok(Some(value)) => map.serialize_entry(row.json, &value)?,
                Ok(None) => {}
                Err(missing) => return Err(M::Error::custom(describe(missing))),
            }
        }
        Ok(())
    }
}

fn describe(owner: &str, missing: MissingIn, version: ManifestVersion) -> String {
    format!(
        "{owner} sets `{}`, which needs endpoint manifest {}, but this server takes only {version}: \
         update the server or remove the option",
        missing.json, missing.since,
    )
}

struct InputEntry<'a>(&'a InputMetadata);

impl Serialize for InputEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let input = self.0;
        let mut map = serializer.serialize_map(None)?;
        // Without a content type no body is expected, so nothing can be required.
        if let Some(content_type) = &input.content_type {
            map.serialize_entry("required", &input.required)?;
            map.serialize_entry("contentType", content_type)?;
        }
        if let Some(schema) = &input.json_schema {
            map.serialize_entry("jsonSchema", schema)?;
        }
        map.end()
    }
}

struct OutputEntry<'a>(&'a OutputMetadata);

impl Serialize for OutputEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let output = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(content_type) = &output.content_type {
            map.serialize_entry("contentType", content_type)?;
        }
        map.serialize_entry("setContentTypeIfEmpty", &output.set_content_type_if_empty)?;
        if let Some(schema) = &output.json_schema {
            map.serialize_entry("jsonSchema", schema)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
