//! The fourteen services, one a file. Names, JSON shapes and state keys are a fixed contract with the
//! tools that call them.

mod awakeable_holder;
mod block_and_wait_workflow;
mod cancel_test_blocking_service;
mod cancel_test_runner;
mod counter;
mod failing;
mod kill_test_runner;
mod kill_test_singleton;
mod list_object;
mod map_object;
mod non_deterministic;
mod proxy;
mod test_utils_service;
mod virtual_object_command_interpreter;

use durably::{Service, ServiceDefinition};

/// All services, each ready to be bound.
pub(crate) fn all() -> [ServiceDefinition; 14] {
    [
        awakeable_holder::AwakeableHolder.definition(),
        block_and_wait_workflow::BlockAndWaitWorkflow.definition(),
        cancel_test_blocking_service::CancelTestBlockingService.definition(),
        cancel_test_runner::CancelTestRunner.definition(),
        counter::Counter.definition(),
        failing::Failing::default().definition(),
        kill_test_runner::KillTestRunner.definition(),
        kill_test_singleton::KillTestSingleton.definition(),
        list_object::ListObject.definition(),
        map_object::MapObject.definition(),
        non_deterministic::NonDeterministic::default().definition(),
        proxy::Proxy.definition(),
        test_utils_service::TestUtilsService.definition(),
        virtual_object_command_interpreter::VirtualObjectCommandInterpreter.definition(),
    ]
}
