"""sandboxd: disposable virtual machines on a fleet of plain libvirt hosts."""
