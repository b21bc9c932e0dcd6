//! What changes of the engine write.

use bytes::Bytes;
use prost::Message;

use super::{
    InvocationRow, OutcomeRow, RecordRow, StatusRow,
    keys::{
        NEXT, expiry_key, idempotency_key, invocation_key, keyed_key, named_key, number,
        record_key, status_key,
    },
};
use crate::{
    engine::{
        Engine,
        changes::{Change, Changes},
        invocation::Index,
    },
    local::store::{Table, Write},
};

fn put(table: Table, key: Vec<u8>, row: &impl Message) -> Write {
    let value = row.encode_to_vec().into();
    Write::Put { table, key, value }
}

fn put_index(table: Table, key: Vec<u8>, index: Index) -> Write {
    let value = Bytes::copy_from_slice(&number(index));
    Write::Put { table, key, value }
}

/// What is to be written for these changes; the engine still is as it was after the last of them.
pub(in crate::local) fn writes(engine: &Engine, changes: Changes) -> Vec<Write> {
    let mut writes = Vec::with_capacity(changes.list.len() + changes.touched.len());
    for change in changes.list {
        write(engine, change, &mut writes);
    }
    for index in changes.touched {
        let Some(invocation) = engine.invocations.get(index) else {
            continue;
        };
        if invocation.forgotten {
            continue;
        }
        let over = invocation.is_over();
        if over {
            let live = status_key(false, index);
            writes.push(Write::Delete {
                table: Table::Status,
                key: live,
            });
            let due = expiry_key(invocation.expires_at(), index);
            writes.push(put_index(Table::Expiry, due, index));
        }
        let row = StatusRow::of(invocation);
        writes.push(put(Table::Status, status_key(over, index), &row));
    }
    writes
}

fn write(engine: &Engine, change: Change, writes: &mut Vec<Write>) {
    match change {
        Change::Created(index) => {
            let Some(invocation) = engine.invocations.get(index) else {
                return;
            };
            let row = InvocationRow::of(invocation);
            writes.push(put(Table::Invocations, invocation_key(index), &row));
            let id = invocation.id.clone().into_bytes();
            writes.push(put_index(Table::Ids, id, index));
            if let Some(key) = invocation.idempotent() {
                writes.push(put_index(Table::Idempotency, idempotency_key(&key), index));
            }
            if let Some(workflow) = invocation.run_of() {
                let key = keyed_key(&workflow);
                writes.push(put_index(Table::Runs, key, index));
            }
        }
        Change::Recorded(index, number) => {
            let record = engine.invocations.get(index);
            if let Some(record) = record.and_then(|one| one.records.get(number)) {
                let row = RecordRow::of(record);
                writes.push(put(Table::Records, record_key(index, number), &row));
            }
        }
        Change::Forgotten(index) => {
            let Some(invocation) = engine.invocations.get(index) else {
                return;
            };
            let mut delete = |table, key| writes.push(Write::Delete { table, key });
            delete(Table::Invocations, invocation_key(index));
            delete(Table::Status, status_key(false, index));
            delete(Table::Status, status_key(true, index));
            delete(Table::Ids, invocation.id.clone().into_bytes());
            if let Some(key) = invocation.idempotent() {
                delete(Table::Idempotency, idempotency_key(&key));
            }
            delete(Table::Expiry, expiry_key(invocation.expires_at(), index));
            // The last row may be gone now, and its number is never given to another one.
            writes.push(put_index(
                Table::Settings,
                NEXT.to_vec(),
                engine.invocations.next(),
            ));
            writes.push(Write::DeletePrefix {
                table: Table::Records,
                prefix: number(index).to_vec(),
            });
        }
        Change::State { of, name, value } => {
            let (table, key) = (Table::State, named_key(&of, &name));
            writes.push(match value {
                Some(value) => Write::Put { table, key, value },
                None => Write::Delete { table, key },
            });
        }
        Change::StateCleared(of) => writes.push(Write::DeletePrefix {
            table: Table::State,
            prefix: keyed_key(&of),
        }),
        Change::Promise { of, name, outcome } => {
            let key = named_key(&of, name.as_bytes());
            writes.push(put(Table::Promises, key, &OutcomeRow::of(&outcome)));
        }
        Change::KeyForgotten(of) => {
            let key = keyed_key(&of);
            for table in [Table::State, Table::Promises] {
                let prefix = key.clone();
                writes.push(Write::DeletePrefix { table, prefix });
            }
            let table = Table::Runs;
            writes.push(Write::Delete { table, key });
        }
    }
}
