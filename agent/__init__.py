"""The station: takes boards on serial lines through their recipe. It makes no key of a board."""
