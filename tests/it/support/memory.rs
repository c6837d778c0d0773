//! How much memory this process takes.

/// How much it grew since, in KiB.
pub struct Growth {
    before: usize,
    most: usize,
}

impl Growth {
    pub fn begin() -> Self {
        Self { before: resident(), most: 0 }
    }

    pub fn look(&mut self) {
        self.most = self.most.max(resident().saturating_sub(self.before));
    }

    pub fn most(&self) -> usize {
        self.most
    }
}

/// The process's resident memory in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
