"""What administrators enter: peers, products, orders, lists of chips, issuers."""
