"""One list of the addresses that a stranger must not make this service call, for every client that calls strangers."""

OUTSIDE = [
    "93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:80b::200e",
    "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::",
]  # fmt: skip

INSIDE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1",
    "169.254.169.254",  # where clouds keep the keys of a machine
    "169.254.170.2",  # where AWS keeps those of a container
    "168.63.129.16",  # Azure's, although the registry calls it global
    "100.64.0.1", "100.100.100.200",  # carrier-grade NAT (RFC 6598); Alibaba's metadata are in it
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1",
    "2001:db8::1", "3fff::1", "100::1", "5f00::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",  # IPv4-mapped (RFC 4291)
    "::127.0.0.1", "::a00:1",  # IPv4-compatible (RFC 4291)
    "::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe",  # IPv4-translated (RFC 2765)
    "2002:7f00:1::", "2002:a00:1::", "2002:a9fe:a9fe::1",  # 6to4 (RFC 3056)
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",  # NAT64 (RFC 6052, RFC 8215)
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo (RFC 4380) of 192.0.2.45
    "2001:db8::5efe:7f00:1", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:a9fe:a9fe",  # ISATAP (RFC 5214)
]  # fmt: skip

# The same few addresses as URLs that parsers read in different ways. Each names loopback or a private network.
INSIDE_URLS = [
    "http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/",
    "http://0x7f.1/", "http://0177.0.0.1/", "http://017700000001/", "http://0/", "http://0x0/",
    "http://00000000000000000000000177.0.0.1/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    "http://127.0.0.1./", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[::127.0.0.1]/",
    "http://[2002:7f00:1::]/", "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://127\u30020\u30020\u30021/", "http://\uff11\uff12\uff17.0.0.1/", "http://10.0.0.1/", "http://0xa.0.0.1/",
    "http://012.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://2852039166/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/", "https://10.0.0.1/", "http://10.0.0.1#@media.example/",
    "http://10.0.0.1?@media.example/", "http://metadata.google.internal/computeMetadata/v1/",
    "http://rebinding.example/", "http://half-inside.example/", "http://mapped.example/",
]  # fmt: skip

# What no client opens, whatever it names.
FORBIDDEN_URLS = [
    "file:///etc/passwd", "ftp://media.example/", "gopher://127.0.0.1:6379/_FLUSHALL", "data:text/plain,x",
    "dict://127.0.0.1:11211/stats", "javascript:alert(1)", "ldap://127.0.0.1/", "jar:http://media.example!/x",
    "http://", "http:///x", "https://:80/", "http://user:secret@media.example/", "http://media.example@10.0.0.1/",
    "http://media.example:0/", "http://media.example:99999/", "http://media.example:x/", "http://[::1/",
    "http://a..example/", "http://media.example\\@10.0.0.1/", "//media.example/x",
    "http:media.example/x", "HTTP//media.example", "http://media.example\t/x", "\x00http://x/", "",
]  # fmt: skip

# Names that only these tests' resolver knows.
NAMES = {
    "localhost.": ["127.0.0.1"],
    "127.0.0.1.": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "rebinding.example": ["10.0.0.1"],
    "half-inside.example": ["93.184.216.34", "10.0.0.1"],
    "mapped.example": ["::ffff:10.0.0.1"],
}
