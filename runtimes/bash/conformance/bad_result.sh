echo '{"a": ' >result.json
