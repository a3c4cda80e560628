-- $1 value
-- result_collection=last_statement_first_row_scalar
select $1::json
