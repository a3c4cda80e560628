-- $1 name (text)
-- $2 numbers (json)
-- result_collection=last_statement_first_row
select 'hello ' || $1 as greeting, sum(n::int) as sum, array_agg(n::int order by n::int) as sorted
from json_array_elements_text($2::json) as n
