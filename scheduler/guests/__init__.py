"""What goes into a sandbox's guest: the cloud-init seed that makes a clone this sandbox."""
