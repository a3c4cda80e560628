-- :name (text)
-- :numbers (json)
-- result_collection=last_statement_first_row
select concat('hello ', :name) as greeting, max(n) as max, count(*) as count
from json_table(:numbers, '$[*]' columns (n int path '$')) as numbers
