"""What people's disks and machines do to files and processes, done here on purpose: ``make torture``."""
