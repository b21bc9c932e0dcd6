//! An invocation as a row, its fields named as the columns of the server's table `sys_invocation`. What a row has no
//! value for is left out, as the server does.

use serde::Serialize;

use super::{
    filter::status_name,
    time::{Moment, Span},
};
use crate::{
    engine::{
        catalog::{Catalog, HandlerType, ServiceType},
        invocation::{Invocation, Running, Status, What},
        words,
    },
    wire::{Awaited, CANCEL, CommandMessage},
};

/// What one looks like from outside.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    id: String,
    target: String,
    target_service_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_service_key: Option<String>,
    target_handler_name: String,
    target_service_ty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoked_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoked_by_subscription_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_commands_size: Option<usize>,
    created_at: String,
    modified_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_start_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_start_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    completion_retention: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_waiting_for_completions: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_waiting_for_signals: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_retry_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure_related_command_index: Option<u32>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_failure: Option<String>,
    /// All attempts: ours alone.
    attempts: u32,
    /// How it stands, in words: ours alone.
    status_text: String,
}

impl Row {
    /// Of one that has ended and was read without its records, what follows from these is left out.
    pub(super) fn of(invocation: &Invocation, catalog: &Catalog) -> Self {
        let entries = invocation.entries().count();
        let commands = invocation.entries().filter(|entry| entry.ty.is_command());
        let commands = commands.count();
        // The Input is the first entry, once there is a journal.
        let begun = !invocation.is_unbegun() && !invocation.records.is_empty();
        let mut starts = invocation.records.iter().filter_map(|record| {
            let began = matches!(record.what, What::Began);
            began.then(|| moment(record.at))
        });
        let running_at = starts.next();
        let is_over = invocation.is_over();
        let last_start_at = starts.next_back().or_else(|| running_at.clone());
        let changes = invocation.records.last().map(|record| record.at);
        let modified_at = changes.unwrap_or(invocation.created_at.max(invocation.completed_at));
        let mut row = Self {
            id: invocation.id.clone(),
            target: invocation.target(),
            target_service_name: invocation.service.clone(),
            target_service_key: invocation.key.clone(),
            target_handler_name: invocation.handler.clone(),
            target_service_ty: service_type(invocation, catalog),
            scope: invocation.scope.clone(),
            limit_key: invocation.limit_key.clone(),
            idempotency_key: invocation.idempotency_key.clone(),
            invoked_by: invocation.source.is_some().then_some("subscription"),
            invoked_by_subscription_id: invocation.source.clone(),
            journal_size: begun.then_some(entries + 1),
            journal_commands_size: begun.then_some(commands + 1),
            created_at: moment(invocation.created_at),
            modified_at: moment(modified_at),
            running_at,
            last_start_at: last_start_at.filter(|_| !is_over),
            completed_at: is_over.then(|| moment(invocation.completed_at)),
            completion_retention: Span(match invocation.info.ty {
                HandlerType::Workflow => invocation.info.workflow_retention,
                _ => invocation.info.idempotency_retention,
            })
            .to_string(),
            status: status_name(&invocation.status),
            attempts: invocation.attempts,
            status_text: status_text(invocation),
            ..Self::default()
        };
        match &invocation.status {
            Status::Scheduled(at) => row.scheduled_start_at = Some(moment(*at)),
            Status::Queued => {}
            Status::Running(_) => {
                row.retry_count = Some(invocation.retries.saturating_add(1));
                row.failed(invocation);
            }
            Status::BackingOff(at) => {
                row.retry_count = Some(invocation.retries);
                row.next_retry_at = Some(moment(*at));
                row.failed(invocation);
            }
            Status::Paused => {
                row.retry_count = Some(invocation.retries);
                row.failed(invocation);
            }
            Status::Suspended(awaited) => {
                row.suspended_waiting_for_completions = Some(awaited.completions.clone());
                let signals = awaited.signals.iter().copied();
                row.suspended_waiting_for_signals =
                    Some(signals.filter(|id| *id != CANCEL).collect());
            }
            Status::Completed(Ok(_)) => row.completion_result = Some("success"),
            Status::Completed(Err(failure)) => {
                row.completion_result = Some("failure");
                row.completion_failure = Some(format!("[{}] {}", failure.code, failure.message));
            }
        }
        row
    }

    /// Shows the last failure of the attempts since it was suspended.
    fn failed(&mut self, invocation: &Invocation) {
        let records = invocation.records.iter().rev();
        let mut recent = records.take_while(|record| !matches!(record.what, What::Suspended(_)));
        let error = recent.find_map(|record| match &record.what {
            What::Failed(error, _) => Some(error),
            _ => None,
        });
        self.last_failure = error.map(|error| format!("[{}] {}", error.code, error.message));
        self.last_failure_related_command_index = error.and_then(|error| error.index);
    }
}

/// How it stands, in words. Of many things that are awaited, some.
fn status_text(invocation: &Invocation) -> String {
    let (says, awaited) = match &invocation.status {
        Status::Suspended(awaited) => ("suspended on", awaited),
        Status::Running(Running {
            awaiting: Some(awaited),
            ..
        }) => ("waits for", awaited),
        Status::Scheduled(at) => return format!("begins at {}", moment(*at)),
        Status::BackingOff(at) => return format!("tries again at {}", moment(*at)),
        Status::Paused => return "paused".to_owned(),
        _ => return words::describe_status(invocation),
    };
    let text = brief_awaited(words::commands(invocation), awaited);
    format!("{says} {text}")
}

/// The first few things that are awaited.
pub(super) fn brief_awaited<'a>(
    commands: impl Iterator<Item = &'a CommandMessage> + Clone,
    awaited: &Awaited,
) -> String {
    const NAMED: usize = 5;
    let all = awaited.completions.len() + awaited.signals.len() + awaited.named.len();
    // The cancellation, which always is, comes first among the signals.
    let some = Awaited {
        completions: awaited.completions.iter().copied().take(NAMED).collect(),
        signals: awaited.signals.iter().copied().take(NAMED).collect(),
        named: awaited.named.iter().take(NAMED).cloned().collect(),
    };
    let left = all - some.completions.len() - some.signals.len() - some.named.len();
    let text = words::describe_awaited(commands, &some);
    match left {
        0 => text,
        left => format!("{text}, or {left} more"),
    }
}

fn moment(at: u64) -> String {
    Moment(at).to_string()
}

fn service_type(invocation: &Invocation, catalog: &Catalog) -> &'static str {
    let known = catalog.service(&invocation.service).map(|known| known.ty);
    let ty = known.unwrap_or(match invocation.info.ty {
        HandlerType::Free => ServiceType::Service,
        HandlerType::Workflow => ServiceType::Workflow,
        // A shared handler of a service that is gone is an object's or a workflow's.
        HandlerType::Exclusive | HandlerType::Shared => ServiceType::Object,
    });
    match ty {
        ServiceType::Service => "service",
        ServiceType::Object => "virtual_object",
        ServiceType::Workflow => "workflow",
    }
}
