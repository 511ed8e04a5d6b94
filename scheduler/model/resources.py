"""What a sandbox takes and a host gives: CPUs, memory and storage, always together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of each resource that placement reserves; memory and storage in MiB."""

    vcpus: int = 0
    memory_mb: int = 0
    storage_mb: int = 0

    def covers(self, other: Resources) -> bool:
        """Return whether `other` fits into this amount in every dimension."""
        return (
            self.vcpus >= other.vcpus
            and self.memory_mb >= other.memory_mb
            and self.storage_mb >= other.storage_mb
        )

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            vcpus=self.vcpus + other.vcpus,
            memory_mb=self.memory_mb + other.memory_mb,
            storage_mb=self.storage_mb + other.storage_mb,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            vcpus=self.vcpus - other.vcpus,
            memory_mb=self.memory_mb - other.memory_mb,
            storage_mb=self.storage_mb - other.storage_mb,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Memory that QEMU needs beside the guest's own, in MiB (design: 128 + 16 a vCPU + 1/64)."""

    base_mb: int = 128
    per_vcpu_mb: int = 16
    memory_divisor: int = 64

    def of(self, vcpus: int, memory_mb: int) -> int:
        """Return the overhead in MiB of a guest of this size, rounded up."""
        return self.base_mb + self.per_vcpu_mb * vcpus + -(-memory_mb // self.memory_divisor)
