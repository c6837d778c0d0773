//! The gateways of this machine's networks, as Linux tells them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All of them; none where the system does not tell.
#[must_use]
pub fn gateways() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    [read_v4(&read("/proc/net/route")), read_v6(&read("/proc/net/ipv6_route"))].concat()
}

/// The third column of `/proc/net/route`, an address in the machine's own order of bytes; zero where there is none.
fn read_v4(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    let found = routes.lines().skip(1).filter_map(gateway).filter(|gateway| *gateway != 0);
    found.map(|gateway| Ipv4Addr::from(gateway.to_ne_bytes()).into()).collect()
}

/// The fifth column of `/proc/net/ipv6_route`; zero where there is none.
fn read_v6(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| u128::from_str_radix(line.split_whitespace().nth(4)?, 16).ok();
    let found = routes.lines().filter_map(gateway).filter(|gateway| *gateway != 0);
    found.map(|gateway| Ipv6Addr::from(gateway).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_read_from_the_tables_of_linux() {
        let hex = format!("{:08X}", u32::from_ne_bytes([172, 18, 0, 1]));
        let routes = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t00000000\t{hex}\t0003\t0\t0\t0\t00000000\n\
             eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
        );
        assert_eq!(read_v4(&routes), [IpAddr::from([172, 18, 0, 1])]);
        let zeros = "0".repeat(32);
        let routes = format!(
            "{zeros} 00 {zeros} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let expected: IpAddr = "fd00::1".parse().expect("an address");
        assert_eq!(read_v6(&routes), [expected]);
        assert_eq!((read_v4(""), read_v6("garbage\n\n")), (Vec::new(), Vec::new()));
    }
}
