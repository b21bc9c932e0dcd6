//! Rules that need more than one part of a service: one small function each.
//!
//! They mirror what the server refuses at discovery, so that it is refused where it is written.

use quote::ToTokens as _;

use crate::ast::{Handler, HandlerKind, Service, ServiceItem, ServiceKind};
use crate::errors::Errors;
use crate::names;

/// Reports everything that is wrong with the service as a whole.
pub(crate) fn check(service: &Service, errors: &mut Errors) {
    // Which handlers there are and how they are called is the contract's affair; that it is kept, the
    // compiler's.
    if !matches!(service.item, ServiceItem::Implementation { .. }) {
        check_service_name(service, errors);
        check_handler_names(service, errors);
        check_duplicate_handlers(service, errors);
        check_any_handler(service, errors);
        check_one_workflow_handler(service, errors);
        check_dead_letters(service, errors);
    }
    for handler in &service.handlers {
        check_workflow_retention(service, handler, errors);
        check_idempotency_retention(handler, errors);
        check_private(service, handler, errors);
        check_retry(&handler.options, errors);
    }
    check_retry(&service.options, errors);
}

fn check_service_name(service: &Service, errors: &mut Errors) {
    let name = &service.name;
    if let Some(problem) = names::service_problem(&name.value) {
        let attribute = service.kind.attribute().trim_end_matches(']');
        errors.at(
            name.span,
            format!("{problem}; write `{attribute}(name = \"…\")]`"),
        );
    }
}

fn check_handler_names(service: &Service, errors: &mut Errors) {
    for Handler { name, .. } in &service.handlers {
        if let Some(problem) = names::handler_problem(&name.value) {
            errors.at(
                name.span,
                format!("{problem}; write `#[handler(name = \"…\")]`"),
            );
        }
    }
}

/// Two handlers may share a name only if both are conditional: then the conditions decide. Methods
/// of the same name are reported here too, lest the generated items repeat what the compiler says.
fn check_duplicate_handlers(service: &Service, errors: &mut Errors) {
    for (position, handler) in service.handlers.iter().enumerate() {
        let twice = service.handlers.iter().take(position).any(|earlier| {
            (earlier.name.value == handler.name.value || earlier.ident == handler.ident)
                && (earlier.cfgs.is_empty() || handler.cfgs.is_empty())
        });
        if twice {
            let name = &handler.name.value;
            errors.at(
                handler.name.span,
                format!("there is already a handler named `{name}`; rename one of them"),
            );
        }
    }
}

/// What to blame for what is missing.
fn subject(service: &Service) -> proc_macro2::TokenStream {
    match &service.item {
        ServiceItem::Inherent(item) | ServiceItem::Implementation { item, .. } => {
            item.self_ty.to_token_stream()
        }
        ServiceItem::Contract(item) => item.ident.to_token_stream(),
    }
}

fn check_any_handler(service: &Service, errors: &mut Errors) {
    if service.handlers.is_empty() {
        let context = service.kind.example_context();
        let advice = match &service.item {
            ServiceItem::Contract(_) => "declare one:",
            _ => "write `#[handler]` on a method",
        };
        errors.on(
            subject(service),
            format!(
                "a service has at least one handler; {advice} \
                 `async fn name(&self, {context}, …) -> HandlerResult<…>`"
            ),
        );
    }
}

fn check_one_workflow_handler(service: &Service, errors: &mut Errors) {
    // A handler without a known context was reported; it may be the one that is missing here.
    let unknown = service.handlers.iter().any(|h| h.context.is_none());
    if service.kind != ServiceKind::Workflow || service.handlers.is_empty() || unknown {
        return;
    }
    let mut main = service.handlers.iter().filter_map(|handler| {
        let context = handler.context.as_ref()?;
        (context.kind == HandlerKind::Workflow).then_some((handler, context))
    });
    let Some((first, _)) = main.next() else {
        errors.on(
            subject(service),
            "a workflow has one workflow handler, and here is none; let one handler take \
             `ctx: &WorkflowContext`",
        );
        return;
    };
    for (handler, context) in main {
        if first.cfgs.is_empty() || handler.cfgs.is_empty() {
            errors.on(
                &context.param,
                format!(
                    "a workflow has one workflow handler, and `{}` is one already; let this \
                     handler take `&SharedWorkflowContext`",
                    first.name.value
                ),
            );
        }
    }
}

fn check_workflow_retention(service: &Service, handler: &Handler, errors: &mut Errors) {
    let Some(option) = &handler.options.workflow_retention else {
        return;
    };
    let kind = handler.context.as_ref().map(|context| context.kind);
    if matches!(kind, None | Some(HandlerKind::Workflow)) {
        return;
    }
    let advice = match service.kind {
        ServiceKind::Workflow => "move it to the handler that takes `&WorkflowContext`",
        ServiceKind::Service | ServiceKind::Object => "use `idempotency_retention`",
    };
    errors.at(
        option.span,
        format!("`workflow_retention` is an option of the workflow handler; {advice}"),
    );
}

fn check_idempotency_retention(handler: &Handler, errors: &mut Errors) {
    let Some(option) = &handler.options.idempotency_retention else {
        return;
    };
    let kind = handler.context.as_ref().map(|context| context.kind);
    if kind == Some(HandlerKind::Workflow) {
        errors.at(
            option.span,
            "the workflow handler runs once a key and has no `idempotency_retention`; \
             write `workflow_retention`",
        );
    }
}

fn check_private(service: &Service, handler: &Handler, errors: &mut Errors) {
    let hidden = service.options.ingress_private.is_some_and(|o| o.value);
    if let Some(option) = &handler.options.ingress_private
        && hidden
        && !option.value
    {
        errors.at(
            option.span,
            "a handler of a private service cannot be public; take `ingress_private` off the \
             service and put it on the handlers that are private",
        );
    }
}

/// A record that fails as a dead letter too would never come to rest.
fn check_dead_letters(service: &Service, errors: &mut Errors) {
    for handler in &service.handlers {
        let kafka = handler.options.kafka.as_ref();
        if let Some(target) = kafka.and_then(|kafka| kafka.dead_letter.as_ref())
            && target.value.service == service.name.value
            && target.value.handler == handler.name.value
        {
            errors.at(
                target.span,
                "a handler cannot receive its own dead letters; name another one",
            );
        }
    }
}

fn check_retry(options: &crate::ast::Options, errors: &mut Errors) {
    if let Some(retry) = &options.retry
        && let (Some(initial), Some(max)) = (&retry.initial_interval, &retry.max_interval)
        && max.value < initial.value
    {
        errors.at(
            max.span,
            "`max_interval` is below `initial_interval`; swap or change them",
        );
    }
}
