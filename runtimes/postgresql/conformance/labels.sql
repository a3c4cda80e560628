-- $1 value
-- result_collection=last_statement_first_row
select array['red', 'blue'] as wm_labels, $1::int as value
