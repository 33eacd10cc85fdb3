"""What edgekit keeps on the host: artifacts by content, and the ledger of what was asked, built and measured."""
