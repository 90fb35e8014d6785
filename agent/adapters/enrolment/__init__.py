"""The station's own key and certificate: made, checked, renewed."""
