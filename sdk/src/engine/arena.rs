//! Things by a number that is never given to another one.

use std::{
    collections::BTreeMap,
    ops::{Index, IndexMut},
};

/// A map that numbers what is put into it.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    // Boxed, so that the nodes of the tree stay small.
    items: BTreeMap<usize, Box<T>>,
    next: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        let items = BTreeMap::new();
        Self { items, next: 0 }
    }
}

impl<T> Arena<T> {
    pub(crate) fn push(&mut self, item: T) -> usize {
        let index = self.next;
        self.insert(index, item);
        index
    }

    /// Puts something back in its place; later numbers are greater.
    pub(crate) fn insert(&mut self, index: usize, item: T) {
        self.items.insert(index, Box::new(item));
        self.start_at(index + 1);
    }

    /// Numbers from here on are free.
    pub(crate) fn start_at(&mut self, next: usize) {
        self.next = self.next.max(next);
    }

    /// The number of the next one.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    pub(crate) fn remove(&mut self, index: usize) -> Option<T> {
        self.items.remove(&index).map(|item| *item)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.items.get(&index).map(|item| &**item)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(&index).map(|item| &mut **item)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// In the order of their numbers.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.items.iter().map(|(index, item)| (*index, &**item))
    }

    /// Those with a smaller number, the greatest first.
    pub(crate) fn before(&self, index: usize) -> impl Iterator<Item = (usize, &T)> {
        let items = self.items.range(..index).rev();
        items.map(|(index, item)| (*index, &**item))
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.values().map(|item| &**item)
    }
}

impl<T> Index<usize> for Arena<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.items[&index]
    }
}

impl<T> IndexMut<usize> for Arena<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        match self.get_mut(index) {
            Some(item) => item,
            None => panic!("nothing has the number {index}"),
        }
    }
}
