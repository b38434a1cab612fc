//! Control flow: where lanes that part meet again, and which registers are live.

use crate::decode::Access;

/// Successors of every instruction, by index; `len` stands for the end.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// The next instruction, unless this one always branches or exits.
    pub(crate) falls_through: Vec<bool>,
    /// The target of a branch.
    pub(crate) targets: Vec<Option<usize>>,
    /// Whether the instruction ends threads, guarded or not.
    pub(crate) exits: Vec<bool>,
}

impl Flow {
    fn len(&self) -> usize {
        self.targets.len()
    }

    fn successors(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let next = (self.falls_through[index] && index + 1 < self.len()).then_some(index + 1);
        next.into_iter().chain(self.targets[index])
    }

    /// The immediate post-dominator of every instruction; `len` where there is none before the end.
    ///
    /// Paths end at the last exit of the text alone. A lane that leaves at an earlier one is gone, and those that
    /// stay meet as if it had never been there.
    pub(crate) fn reconvergence(&self) -> Vec<usize> {
        let length = self.len();
        let mut predecessors = vec![Vec::new(); length];
        for index in 0..length {
            for next in self.successors(index) {
                predecessors[next].push(index);
            }
        }
        let Some(end) = (0..length).rev().find(|&index| self.exits[index]) else { return vec![length; length] };
        let order = postorder(end, &predecessors);
        let mut rank = vec![usize::MAX; length];
        for (place, &index) in order.iter().enumerate() {
            rank[index] = place;
        }
        // Cooper, Harvey and Kennedy 2001, "A simple, fast dominance algorithm", on the reversed graph.
        let mut dominator = vec![usize::MAX; length];
        dominator[end] = end;
        let mut changed = true;
        while changed {
            changed = false;
            for &index in order.iter().rev().filter(|&&index| index != end) {
                let mut known = self.successors(index).filter(|&next| dominator[next] != usize::MAX);
                let Some(first) = known.next() else { continue };
                let meeting = known.fold(first, |a, b| meet(a, b, &dominator, &rank));
                changed |= dominator[index] != meeting;
                dominator[index] = meeting;
            }
        }
        dominator[end] = length;
        dominator.into_iter().map(|index| index.min(length)).collect()
    }

    /// The most 32-bit registers that are live at once. Predicates are not counted.
    pub(crate) fn register_pressure(&self, accesses: &[Access], files: [usize; 2]) -> u32 {
        let width = files[0] + files[1];
        let mut live = vec![vec![false; width]; self.len() + 1];
        let mut changed = true;
        while changed {
            changed = false;
            for index in (0..self.len()).rev() {
                let mut now = vec![false; width];
                for next in self.successors(index) {
                    now.iter_mut().zip(&live[next]).for_each(|(a, b)| *a |= b);
                }
                let access = &accesses[index];
                if !access.guarded {
                    access.writes(files[0]).for_each(|register| now[register] = false);
                }
                access.reads(files[0]).for_each(|register| now[register] = true);
                changed |= now != live[index];
                live[index] = now;
            }
        }
        let cost = |now: &Vec<bool>| {
            let (words, longs) = now.split_at(files[0]);
            words.iter().filter(|l| **l).count() + 2 * longs.iter().filter(|l| **l).count()
        };
        live.iter().map(cost).max().unwrap_or(0) as u32
    }
}

fn meet(mut a: usize, mut b: usize, dominator: &[usize], rank: &[usize]) -> usize {
    while a != b {
        while rank[a] < rank[b] {
            a = dominator[a];
        }
        while rank[b] < rank[a] {
            b = dominator[b];
        }
    }
    a
}

/// The nodes that reach `root` backwards over `edges`, in postorder.
fn postorder(root: usize, edges: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((node, edge)) = stack.pop() {
        match edges[node].get(edge) {
            Some(&next) => {
                stack.push((node, edge + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
            None => order.push(node),
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(edges: &[(bool, Option<usize>, bool)]) -> Flow {
        Flow {
            falls_through: edges.iter().map(|e| e.0).collect(),
            targets: edges.iter().map(|e| e.1).collect(),
            exits: edges.iter().map(|e| e.2).collect(),
        }
    }

    const NEXT: (bool, Option<usize>, bool) = (true, None, false);

    #[test]
    fn branches_meet_after_both_arms() {
        // 0: @p bra 3; 1: .; 2: bra 4; 3: .; 4: .; 5: exit
        let flow = flow(&[(true, Some(3), false), NEXT, (false, Some(4), false), NEXT, NEXT, (false, None, true)]);
        assert_eq!(flow.reconvergence(), [4, 2, 4, 4, 5, 6]);
    }

    #[test]
    fn a_loop_meets_behind_its_branch() {
        // 0: .; 1: .; 2: @p bra 1; 3: exit
        let flow = flow(&[NEXT, NEXT, (true, Some(1), false), (false, None, true)]);
        assert_eq!(flow.reconvergence(), [1, 2, 3, 4]);
    }

    #[test]
    fn an_early_exit_does_not_part_those_who_stay() {
        // 0: @p bra 4; 1: @q bra 3; 2: exit; 3: .; 4: .; 5: exit
        let edges =
            [(true, Some(4), false), (true, Some(3), false), (false, None, true), NEXT, NEXT, (false, None, true)];
        assert_eq!(flow(&edges).reconvergence(), [4, 3, 6, 4, 5, 6]);
    }
}
