//! All states that ever were, as a tree: each operation of each server is a child of the state that
//! it was made on; a server that opens begins a branch of its own.
//!
//! ```text
//!    ●──●──●──●──●      the first server; up to here ▲ it had acknowledged
//!          ▲  └─○──○    a second one opened there: what the first had beyond is gone
//! ```
//!
//! Invariants
//! 1. What was acknowledged lies on one path, whoever acknowledged it (I7).
//! 2. What a server finds lies at or behind the last of it (I2, I3).

use std::{collections::BTreeSet, rc::Rc};

use esker_tests::{
    model::Model,
    walk::{Tree, difference, shown_by_model},
};

/// A state.
struct Node {
    parent: usize,
    depth: usize,
    model: Rc<Model>,
}

/// What was found at an opening.
pub struct Found {
    /// The state that the new server stands on.
    pub node: usize,
    /// Operations lost of what was committed.
    pub lost: usize,
}

/// What was acknowledged when a server began to open.
#[derive(Clone, Copy)]
pub struct Since {
    node: usize,
    /// Journals given up with what was acknowledged, until then.
    breaks: usize,
}

/// See above.
pub struct Past {
    nodes: Vec<Node>,
    /// The newest state that was acknowledged.
    acknowledged: usize,
    /// The newest state of all; only for telling.
    newest: usize,
    /// Servers that were told to give up a journal, and may have done so or do so yet: who opens
    /// meanwhile, one of them or another, may find any state that ever was.
    given_up: BTreeSet<String>,
    /// How often a server opened meanwhile: the line goes on from where it stands.
    breaks: usize,
}

impl Past {
    pub fn new(model: Model) -> Self {
        let nodes = vec![Node { parent: 0, depth: 0, model: Rc::new(model) }];
        Self { nodes, acknowledged: 0, newest: 0, given_up: BTreeSet::new(), breaks: 0 }
    }

    pub fn model(&self, node: usize) -> Rc<Model> {
        self.nodes[node].model.clone()
    }

    pub fn since(&self) -> Since {
        Since { node: self.acknowledged, breaks: self.breaks }
    }

    /// The operator's word to the server of this name.
    pub fn gives_up(&mut self, name: &str) {
        self.given_up.insert(name.to_owned());
    }

    /// Those of whom `over` is true give nothing up any more.
    pub fn settled(&mut self, over: impl Fn(&str) -> bool) {
        self.given_up.retain(|name| !over(name));
    }

    pub fn add(&mut self, parent: usize, model: Rc<Model>) -> usize {
        let depth = self.nodes[parent].depth + 1;
        self.nodes.push(Node { parent, depth, model });
        self.newest = self.nodes.len() - 1;
        self.newest
    }

    fn leads_to(&self, from: usize, mut to: usize) -> bool {
        while self.nodes[to].depth > self.nodes[from].depth {
            to = self.nodes[to].parent;
        }
        from == to
    }

    /// `node` was acknowledged as durable.
    pub fn acknowledge(&mut self, node: usize) -> Result<(), String> {
        if self.leads_to(self.acknowledged, node) {
            self.acknowledged = node;
        } else if !self.leads_to(node, self.acknowledged) {
            return Err(format!(
                "state {node} was acknowledged, though {} is and neither leads to the other",
                self.acknowledged
            ));
        }
        Ok(())
    }

    /// A server that began to open when `since` was acknowledged has found `tree`.
    /// `overruled`: another may have done so meanwhile, on a store that fences nobody.
    pub fn found(
        &mut self,
        tree: &Tree,
        since: Since,
        fencing: bool,
        overruled: bool,
    ) -> Result<Found, String> {
        let same = |n: &usize| shown_by_model(&self.nodes[*n].model) == *tree;
        let loose = !self.given_up.is_empty();
        let may = |n: &usize| {
            let after = since.breaks != self.breaks || self.leads_to(since.node, *n);
            let in_line =
                self.leads_to(self.acknowledged, *n) || self.leads_to(*n, self.acknowledged);
            loose || after && (in_line || overruled)
        };
        let mut allowed: Vec<usize> = (0..self.nodes.len()).filter(|n| may(n)).collect();
        // Of equal trees the one farthest along what was acknowledged.
        allowed.sort_by_key(|n| (self.leads_to(self.acknowledged, *n), self.nodes[*n].depth));
        let Some(at) = allowed.iter().rev().copied().find(|n| same(n)) else {
            let wanted = shown_by_model(&self.nodes[since.node].model);
            let stands =
                (0..self.nodes.len()).filter(same).map(|n| n.to_string()).collect::<Vec<_>>();
            return Err(format!(
                "what was found is no state behind {}, the last acknowledged; from that it differs so: \
                 {}; states that look like it: [{}]",
                since.node,
                difference(tree, &wanted),
                stands.join(" ")
            ));
        };
        let lost = self.nodes[self.newest].depth.saturating_sub(self.nodes[at].depth);
        let node = self.add(at, self.model(at));
        if loose {
            self.breaks += 1;
            self.acknowledged = node;
        } else if fencing && self.leads_to(self.acknowledged, node) {
            // It has shown it, and nobody else may go on from anywhere before.
            self.acknowledged = node;
        }
        Ok(Found { node, lost })
    }
}
