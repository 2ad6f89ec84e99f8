//! What an address is: public, private, or one that nothing may reach.
//!
//! The blocks are those of the IANA registries of special-purpose addresses (RFC 6890, RFC 8190; IPv4 as of 2025-05, IPv6
//! as of 2025-05), the multicast registries, and the addresses at which clouds hand out credentials to whoever asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use Reach::{Never, Private, Public};

/// How far an address reaches. The text says what the address is and fits after "…, which is".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Reachable from anywhere.
    Public,
    /// Reachable on this machine or in this network only, or not routed at all: refused unless the operator allows it.
    Private(&'static str),
    /// Refused whatever anybody allows.
    Never(&'static str),
}

impl Reach {
    /// Of two verdicts on one address the stricter; the first, where they are equally strict.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if other.strictness() > self.strictness() { other } else { self }
    }

    fn strictness(self) -> u8 {
        match self {
            Reach::Public => 0,
            Reach::Private(_) => 1,
            Reach::Never(_) => 2,
        }
    }
}

/// Judges one address. An IPv6 address that carries an IPv4 address is judged as both, and never as public: what it
/// carries decides where a translator or a tunnel takes it.
pub fn judge(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => judge_v4(address),
        IpAddr::V6(address) => judge_v6(address),
    }
}

const METADATA: &str = "where a cloud gives out its machines' credentials";
const LINK_LOCAL: &str = "a link-local address, where clouds give out their machines' credentials";
const MULTICAST: &str = "a multicast address";
const LOOPBACK: &str = "this machine itself (loopback)";
const NETWORK: &str = "an address of a private network";
const DOCUMENTATION: &str = "an address for documentation";
const BENCHMARK: &str = "an address for benchmarks";
const PROTOCOL: &str = "an address reserved for protocols";

/// The first block that holds the address decides, so the narrower ones come first.
const V4: &[(Ipv4Addr, u32, Reach)] = &[
    // Metadata and platform services that are not link-local: Azure (WireServer), Alibaba Cloud, Oracle Cloud.
    (Ipv4Addr::new(168, 63, 129, 16), 32, Never(METADATA)),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Never(METADATA)),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Never(METADATA)),
    // RFC 791, 3.2: "this network"; 0.0.0.0 connects to this machine on Linux.
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never("an unspecified address")),
    // RFC 3927.
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never(LINK_LOCAL)),
    // RFC 5771.
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never(MULTICAST)),
    // RFC 919.
    (Ipv4Addr::new(255, 255, 255, 255), 32, Never("the broadcast address")),
    // RFC 1122, 3.2.1.3.
    (Ipv4Addr::new(127, 0, 0, 0), 8, Private(LOOPBACK)),
    // RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private(NETWORK)),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private(NETWORK)),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private(NETWORK)),
    // RFC 6598.
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private("an address behind a carrier's address translation")),
    // RFC 6890, 2.1.
    (Ipv4Addr::new(192, 0, 0, 0), 24, Private(PROTOCOL)),
    // RFC 5737.
    (Ipv4Addr::new(192, 0, 2, 0), 24, Private(DOCUMENTATION)),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Private(DOCUMENTATION)),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Private(DOCUMENTATION)),
    // RFC 7526: relays of 6to4, which reach whatever the packet inside says.
    (Ipv4Addr::new(192, 88, 99, 0), 24, Private("a relay into IPv6 (6to4)")),
    // RFC 2544.
    (Ipv4Addr::new(198, 18, 0, 0), 15, Private(BENCHMARK)),
    // RFC 1112, 4.
    (Ipv4Addr::new(240, 0, 0, 0), 4, Private("a reserved address")),
];

/// The first block that holds the address decides. What no block holds is outside the space that is routed.
const V6: &[(Ipv6Addr, u32, Reach)] = &[
    // RFC 4291, 2.5.2 and 2.5.3.
    (Ipv6Addr::UNSPECIFIED, 128, Never("the unspecified address")),
    (Ipv6Addr::LOCALHOST, 128, Private(LOOPBACK)),
    // RFC 4291, 2.5.6 and 2.7.
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Never(LINK_LOCAL)),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Never(MULTICAST)),
    // Metadata inside the unique local space: AWS (instance metadata, EKS pod identity, DNS, time), Google Cloud, Oracle
    // Cloud, Scaleway.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, Never(METADATA)),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Never(METADATA)),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128, Never(METADATA)),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, Never(METADATA)),
    // RFC 4193, and what it replaced (RFC 3879).
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private(NETWORK)),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Private("a site-local address")),
    // RFC 6666 and RFC 9780: traffic that is thrown away.
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 63, Private("an address that leads nowhere")),
    // RFC 5180, inside the block that follows.
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Private(BENCHMARK)),
    // RFC 2928: protocols. Teredo, ORCHIDv2, drone identities and a few anycast addresses, none of them a web service.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Private(PROTOCOL)),
    // RFC 3849 and RFC 9637.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Private(DOCUMENTATION)),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Private(DOCUMENTATION)),
    // RFC 4291, 2.4: the only space that is given out.
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Public),
];

fn judge_v4(address: Ipv4Addr) -> Reach {
    let holds = |net: Ipv4Addr, length: u32| (address.to_bits() ^ net.to_bits()) >> (32 - length) == 0;
    V4.iter().find(|(net, length, _)| holds(*net, *length)).map_or(Public, |(_, _, reach)| *reach)
}

fn judge_v6(address: Ipv6Addr) -> Reach {
    let holds = |net: Ipv6Addr, length: u32| (address.to_bits() ^ net.to_bits()) >> (128 - length) == 0;
    let own = V6.iter().find(|(net, length, _)| holds(*net, *length));
    let own = own.map_or(Private("an address outside the space that is routed"), |(_, _, reach)| *reach);
    // The two addresses of ::/96 that are no IPv4 address inside IPv6.
    if address.is_unspecified() || address.is_loopback() {
        return own;
    }
    embedded(address).fold(own, |verdict, (carrier, inner)| {
        let inner = match judge_v4(inner) {
            Public => Private(carrier),
            other => other,
        };
        // The inner address says more than the block around it, so it goes first.
        inner.stricter(verdict)
    })
}

/// The IPv4 addresses that an IPv6 address may carry, each with the name of how.
///
/// A network may also translate at a prefix of its own (RFC 6052, 2.2), which no address shows; there the network's own
/// rules have to hold.
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = (&'static str, Ipv4Addr)> {
    let bits = address.to_bits();
    let segments = address.segments();
    // The 32 bits that end `before_end` bits before the address does; `u32` drops what is in front of them.
    let at = move |before_end: u32| Ipv4Addr::from_bits((bits >> before_end) as u32);
    // The same for RFC 6052's shorter prefixes: bits 64 to 71 stay out of the IPv4 address.
    let around_u = move |before_end: u32| {
        let joined = (bits >> 64 << 56) | (bits & ((1 << 56) - 1));
        Ipv4Addr::from_bits((joined >> before_end) as u32)
    };
    let mut found: [Option<(&'static str, Ipv4Addr)>; 4] = [None; 4];
    match segments {
        // RFC 4291, 2.5.5.1 and 2.5.5.2; RFC 2765, 2.1.
        [0, 0, 0, 0, 0, 0, ..] => found[0] = Some(("an IPv4 address inside IPv6 (compatible)", at(0))),
        [0, 0, 0, 0, 0, 0xffff, ..] => found[0] = Some(("an IPv4 address inside IPv6 (mapped)", at(0))),
        [0, 0, 0, 0, 0xffff, 0, ..] => found[0] = Some(("an IPv4 address inside IPv6 (translated)", at(0))),
        // RFC 6052, 2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => found[0] = Some(("an IPv4 address inside IPv6 (NAT64)", at(0))),
        // RFC 8215 leaves the length to the network, so the address may sit in any of RFC 6052's places. An address of
        // 0.0.0.0/8 is what the other places look like where nothing was put.
        [0x64, 0xff9b, 1, ..] => {
            for (slot, candidate) in found.iter_mut().zip([around_u(40), around_u(32), around_u(24), at(0)]) {
                if candidate.octets()[0] != 0 {
                    *slot = Some(("an IPv4 address inside IPv6 (local NAT64)", candidate));
                }
            }
            if found.iter().all(Option::is_none) {
                found[0] = Some(("an IPv4 address inside IPv6 (local NAT64)", at(0)));
            }
        }
        // RFC 3056, 2.
        [0x2002, ..] => found[0] = Some(("an IPv4 address inside IPv6 (6to4)", at(80))),
        // RFC 4380, 4: the server as it is, the client with every bit turned over.
        [0x2001, 0, ..] => {
            found[0] = Some(("an IPv4 address inside IPv6 (Teredo)", at(64)));
            found[1] = Some(("an IPv4 address inside IPv6 (Teredo)", Ipv4Addr::from_bits(!at(0).to_bits())));
        }
        _ => {}
    }
    // RFC 5214, 6.1: under any prefix, told by the interface identifier (with either value of its u bit).
    if matches!(segments, [.., 0x0000 | 0x0200, 0x5efe, _, _]) {
        found[3] = Some(("an IPv4 address inside IPv6 (ISATAP)", at(0)));
    }
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::{Host, Url};

    use super::*;

    fn of(text: &str) -> Reach {
        judge(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
    }

    fn strict(text: &str) -> &'static str {
        match of(text) {
            Public => "public",
            Private(_) => "private",
            Never(_) => "never",
        }
    }

    #[test]
    fn every_block_holds_from_its_first_address_to_its_last_and_no_further() {
        // (before, first, last, after, verdict inside)
        for (before, first, last, after, verdict) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0", "never"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "private"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "private"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "private"),
            ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", "never"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "never"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "private"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.191", "", "private"),
            ("", "192.0.0.192", "192.0.0.192", "", "never"),
            ("", "192.0.0.193", "192.0.0.255", "192.0.1.0", "private"),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "private"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "private"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "private"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "private"),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "private"),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "private"),
            ("223.255.255.255", "224.0.0.0", "239.255.255.255", "", "never"),
            ("", "240.0.0.0", "255.255.255.254", "", "private"),
            ("", "255.255.255.255", "255.255.255.255", "", "never"),
            ("2000:ffff:ffff::", "2001:0:808:808:0:0:f7f7:f7f7", "2001:1ff:ffff::", "2001:200::", "private"),
            ("2001:db7:ffff::", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "private"),
            ("2001:ffff::", "2002:808:808::", "2002:808:808:ffff::", "2003::", "private"),
            ("3ffe:ffff::", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "private"),
            ("3fff:ffff::", "4000::", "fcff::", "", "private"),
            ("", "fd00:ec1::", "fd00:ec1:ffff::", "", "private"),
            ("", "fd00:ec2::", "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff", "", "never"),
            ("", "fd00:ec3::", "fe7f:ffff::", "", "private"),
            ("", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "never"),
            ("", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "private"),
            ("", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "never"),
            ("", "100::", "100:0:0:1:ffff:ffff:ffff:ffff", "", "private"),
            ("", "64:ff9b:2::", "1fff:ffff::", "2000::", "private"),
            ("", "5f00::", "5f00:ffff::", "", "private"),
        ] {
            assert_eq!(strict(first), verdict, "{first}");
            assert_eq!(strict(last), verdict, "{last}");
            for outside in [before, after] {
                assert!(outside.is_empty() || strict(outside) == "public", "{outside}");
            }
        }
    }

    #[test]
    fn addresses_where_clouds_hand_out_credentials_are_never_reached() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fe80::a9fe:a9fe",
        ] {
            assert_eq!(strict(address), "never", "{address}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for address in ["1.1.1.1", "8.8.8.8", "93.184.215.14", "192.0.1.1", "2606:4700::1111", "2a00:1450:4001::200e"] {
            assert_eq!(of(address), Public, "{address}");
        }
    }

    /// Every way of writing an IPv4 address into an IPv6 address that anything is known to understand.
    fn every_embedding(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = inner.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        vec![
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            // RFC 6052, 2.2: prefixes of 48, 56, 64 and 96 bits.
            Ipv6Addr::new(0x64, 0xff9b, 1, high, u16::from(c), u16::from(d) << 8, 0, 0),
            Ipv6Addr::new(0x64, 0xff9b, 1, u16::from(a), u16::from(b), low, 0, 0),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, u16::from(a), u16::from_be_bytes([b, c]), u16::from(d) << 8, 0),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0xabcd, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0808, !0x0808),
            Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0x8000, 0xffff, !high, !low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0x200, 0x5efe, high, low),
            Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0x5efe, high, low),
        ]
    }

    /// Prefixes and suffixes that say nothing, filled with what looks like other addresses.
    fn with_noise(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = inner.octets().map(u16::from);
        vec![
            Ipv6Addr::new(0x64, 0xff9b, 1, a << 8 | b, c, d << 8 | 0x08, 0x0808, 0x0808),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0x0800 | a, b, c << 8 | d, 0x0808, 0x0808),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0x0808, a, b << 8 | c, d << 8 | 0x08, 0x0808),
        ]
    }

    #[test]
    fn an_embedded_address_is_judged_in_every_form() {
        for (inner, verdict) in [
            (Ipv4Addr::new(169, 254, 169, 254), "never"),
            (Ipv4Addr::new(100, 100, 100, 200), "never"),
            (Ipv4Addr::new(224, 0, 0, 1), "never"),
            (Ipv4Addr::new(127, 0, 0, 1), "private"),
            (Ipv4Addr::new(10, 1, 2, 3), "private"),
            (Ipv4Addr::new(8, 8, 8, 8), "private"),
        ] {
            for outer in every_embedding(inner) {
                assert_eq!(strict(&outer.to_string()), verdict, "{inner} in {outer}");
            }
        }
    }

    #[test]
    fn what_an_embedded_address_is_tells_more_than_how_it_is_embedded() {
        assert_eq!(of("::ffff:127.0.0.1"), Private(LOOPBACK));
        assert_eq!(of("::ffff:8.8.8.8"), Private("an IPv4 address inside IPv6 (mapped)"));
        assert_eq!(of("2002:7f00:1::"), Private(LOOPBACK));
    }

    #[test]
    fn unspecified_and_loopback_are_not_taken_for_compatible_addresses() {
        assert_eq!(of("::1"), Private(LOOPBACK));
        assert_eq!(of("::"), Never("the unspecified address"));
        assert_eq!(strict("::2"), "never");
    }

    proptest! {
        #[test]
        fn embedding_never_improves_an_address(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            for outer in [every_embedding(inner), with_noise(inner)].concat() {
                let verdict = judge(outer.into());
                prop_assert_ne!(verdict, Public);
                // Local NAT64 does not say where the address sits, and zeros there look like no address at all.
                let local = outer.segments()[..3] == [0x64, 0xff9b, 1] && inner.octets()[0] == 0;
                prop_assert!(local || verdict.strictness() >= judge_v4(inner).strictness(), "{} in {}", inner, outer);
            }
        }

        #[test]
        fn only_the_global_unicast_space_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            prop_assert!(judge(address.into()) != Public || bits >> 125 == 1);
        }
    }

    #[test]
    fn every_spelling_of_loopback_is_loopback() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "127.255.255.254",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.０.０.１",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            let address: IpAddr = match url.host() {
                Some(Host::Ipv4(address)) => address.into(),
                Some(Host::Ipv6(address)) => address.into(),
                other => panic!("{host} became {other:?}"),
            };
            assert_eq!(judge(address), Private(LOOPBACK), "{host}");
        }
    }
}
