-- $1 text
-- result_collection=last_statement_first_row_scalar
select set_config('conformance.text', $1, false);
do $$ begin raise notice '%', current_setting('conformance.text'); end $$;
select $1
